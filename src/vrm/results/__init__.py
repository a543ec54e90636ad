"""The documents that commands write: what they begin with, their numbers and words."""
