"""The local stack in containers."""
