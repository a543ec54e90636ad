"""The study of docs/evidence.md: heads compared on the same frozen features."""
