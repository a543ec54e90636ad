"""Variational reward models inside the trainers that people already use."""
