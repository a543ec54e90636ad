"""How the package grows with rows, pairs and processes: time, resident memory, disk."""
