"""`invoke export`: files for other tools, generated from the kit's definitions and pipeline.toml."""
