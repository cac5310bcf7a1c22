"""What runs tasks: pull, lease, run, settle, stop."""
