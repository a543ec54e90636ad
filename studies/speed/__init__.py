"""How fast training and scoring are, beside the libraries in use; studies/README.md says what to run and read."""
