"""Faults, inspection and restart on demand."""
