"""Parts of the drill `rows`: planted rows, what is done to them, and what must come of it."""
