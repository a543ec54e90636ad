"""Ratings of real raters: which heads learn from them, and what they tell."""
