"""What is kept of a task: ids, records, unique keys, dead letters."""
