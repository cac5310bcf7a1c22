"""What the page of one task shows, worked out: its time axis, its relatives, its values and tracebacks."""
