"""Training: the trainer, frozen-feature data, callbacks."""
