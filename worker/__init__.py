"""The application's task types."""
