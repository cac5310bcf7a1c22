"""Messages and how they are published."""
