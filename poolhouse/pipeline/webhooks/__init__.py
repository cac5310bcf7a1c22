"""Completion webhooks: what is declared of them, and the event that follows the end of a task."""
