"""The equations, as pure functions on tensors; this package imports torch, and of the rest of `vrm` only `errors`."""
