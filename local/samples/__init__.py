"""Sample files and task types, for the e2e and for trying things out; nothing of it ships."""
