"""Is uncertainty about parameters worth more than uncertainty about one judgment? A section of docs/evidence.md."""
