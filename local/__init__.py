"""What this application needs on a laptop only: the launcher's bootstrap, sample files, e2e cases."""
