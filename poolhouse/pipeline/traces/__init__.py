"""Traces: what API, workers and scheduler record of a task's way, and the files that spans are kept in locally."""
