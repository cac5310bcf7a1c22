"""The stack on other people's machines: each environment brings it up, runs a short e2e and takes it down.

    python -m pytest tests/kit/environments

They start dozens of stacks, and some need root, mount namespaces or other Pythons.
"""
