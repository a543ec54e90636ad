"""The `vrm` command, one file a command."""
