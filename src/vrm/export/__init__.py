"""Models for other programs: merged directories, code that travels with them, model cards."""
