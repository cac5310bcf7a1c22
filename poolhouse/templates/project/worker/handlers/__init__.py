"""One module a task type."""
