"""A small control plane that simulates Google's APIs for the real gcloud: deploys are tested offline."""
