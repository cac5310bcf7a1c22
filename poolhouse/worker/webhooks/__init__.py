"""Delivering completion webhooks."""
