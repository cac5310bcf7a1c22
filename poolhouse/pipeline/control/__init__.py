"""What people decide about queues and tasks in bulk: pauses, cancel orders, and the filter that chooses tasks."""
