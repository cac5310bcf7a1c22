"""This application's e2e cases."""
