"""Processes of this machine: identity, lifetime, ports."""
