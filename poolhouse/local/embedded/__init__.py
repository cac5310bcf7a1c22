"""The local stack as processes, without containers."""
