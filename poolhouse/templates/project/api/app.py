"""The kit's HTTP service; routers, middleware and authentication of your own go here."""

from __future__ import annotations

from fastapi import FastAPI
from poolhouse.api import create_app, simple_call


def create() -> FastAPI:
    """Return the application that `api` in pipeline.toml names."""
    app = create_app()
    app.include_router(simple_call("/submit-greeting", "greet"))
    return app
