"""Parts of the drill `server`."""
