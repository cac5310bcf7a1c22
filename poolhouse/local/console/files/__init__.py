"""The bucket as pages show it: what lies in it, and what is in a file, shown so that none of it runs."""
