"""The kinds of resources: one module a Google product, each with the pure functions that describe its resources."""
