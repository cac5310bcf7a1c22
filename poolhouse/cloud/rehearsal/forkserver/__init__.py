"""gcloud without its start: a server imports it once, and each command runs in a fork of that."""
