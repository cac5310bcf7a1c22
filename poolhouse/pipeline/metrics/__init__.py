"""Metrics: their definitions, and what a process reports through them. OpenTelemetry is imported nowhere here."""
