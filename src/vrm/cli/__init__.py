"""The command line, one file a command; see `vrm.cli.main` for how commands are registered."""
