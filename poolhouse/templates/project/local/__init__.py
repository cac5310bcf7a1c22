"""What this project needs on a laptop only."""
