"""No handlers: those of a test whose project has no pipeline.toml are named by the fixture `pipeline_handlers`."""
