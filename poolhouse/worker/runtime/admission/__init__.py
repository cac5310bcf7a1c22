"""Whether an attempt may start now: limits of one process, and limits that all workers share."""
