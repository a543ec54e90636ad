"""How fast training and scoring are, beside the libraries in use; benchmarks/README.md says what to run and read."""
