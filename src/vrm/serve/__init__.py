"""The HTTP server: one process that batches across requests. `vrm serve` runs it; see docs/serving.md."""
