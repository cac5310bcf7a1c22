"""What the handlers do to files and tables."""
