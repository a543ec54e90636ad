"""Parts of the drill `numerics`: rows that teach little or nothing, runs on them, and rankings by precision."""
