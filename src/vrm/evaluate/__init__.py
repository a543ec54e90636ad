"""Evaluation on preference data."""
