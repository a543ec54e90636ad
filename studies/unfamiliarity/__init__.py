"""Can a model tell what is unlike its training data? Section 6 of docs/evidence.md."""
