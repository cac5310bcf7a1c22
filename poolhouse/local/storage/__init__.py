"""Cloud Storage on this machine: fake-gcs-server and what stands before it."""
