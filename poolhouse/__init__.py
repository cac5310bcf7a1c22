"""Background tasks on Google Cloud: what authors of handlers need."""
