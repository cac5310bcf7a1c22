"""The pages of the console: one module a place, each with its routes."""
