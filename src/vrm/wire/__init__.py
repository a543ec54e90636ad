"""What a reward server and its clients send each other. Imports neither torch nor transformers."""
