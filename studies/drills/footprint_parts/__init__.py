"""Parts of the drill `footprint`: a command under strace, and what of the machine it touched."""
