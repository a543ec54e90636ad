"""Parts of the drill `kills`: commands in forks, what they do, and what is done to them."""
