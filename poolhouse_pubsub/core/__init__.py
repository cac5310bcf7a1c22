"""The rules of Pub/Sub, without I/O."""
