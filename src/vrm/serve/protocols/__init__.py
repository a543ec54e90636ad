"""What other programs send and expect: one module a protocol, each a router over the same service."""
