"""Groups: tasks that belong together, and what follows once all of them have ended."""
