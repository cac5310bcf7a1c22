"""The pipeline on Google Cloud: plan, apply, destroy, watch, and rehearse offline with the real gcloud."""
