"""Parts of the drill `checkpoints`: small models, what is done to them, and what loads them."""
