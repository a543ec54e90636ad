"""The protocols of other programs: one module each, a router over the same service."""
