"""The commands of a local stack. Each function returns an exit code."""
