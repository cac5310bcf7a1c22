"""Limits that hold for all workers of a deployment together: how they are declared, shared out and kept."""
