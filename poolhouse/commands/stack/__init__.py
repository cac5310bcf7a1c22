"""What the commands of a local stack do. Each function returns its exit code."""
