"""A small control plane that plays Google's APIs to the real gcloud, so that a deploy can be tried with no network."""
