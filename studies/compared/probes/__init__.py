"""Probes, one module a package; each runs under an interpreter that has that package."""
