"""The equations, as pure functions on tensors; this package imports torch and nothing of the rest of `vrm`."""
