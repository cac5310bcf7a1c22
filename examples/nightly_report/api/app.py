"""The kit's HTTP service: it takes the files of the shops, and serves the reports."""

from __future__ import annotations

from fastapi import FastAPI
from poolhouse.api import create_app


def create() -> FastAPI:
    """Return the application that `api` in pipeline.toml names."""
    return create_app()
