"""`invoke export`: files for other tools, made of what the kit and pipeline.toml declare."""
