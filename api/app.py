"""The kit's HTTP service, with a call of its own for each task type of this application."""

from __future__ import annotations

from fastapi import FastAPI

from poolhouse.api import create_app, simple_call


def create() -> FastAPI:
    """Return the application that `api` in pipeline.toml names."""
    app = create_app()
    app.include_router(simple_call("/submit-file-task", "file_processing"))
    app.include_router(simple_call("/submit-data-task", "data_transformation"))
    return app
