"""Judging text: feature extraction, the engine, scoring and explaining."""
