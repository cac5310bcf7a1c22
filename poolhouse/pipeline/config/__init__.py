"""What is declared: pipeline.toml as types, and the environment of a process."""
