"""This application's HTTP service."""
