"""The HTTP service: accepts tasks and files, and tells what became of them."""
