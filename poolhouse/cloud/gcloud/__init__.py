"""Running gcloud: commands, release tracks, advice on its errors."""
