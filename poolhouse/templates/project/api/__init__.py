"""The HTTP service of this project."""
