"""A client of the local stack's API."""

from __future__ import annotations

from pathlib import Path

from poolhouse.client.client import Client
from poolhouse.local import backends
from poolhouse.local.backend import default_state_dir


def stack_api(state_dir: Path | None = None) -> Client:
    """The API of the local stack that is up. Raises `NoStack`."""
    return Client(backends.live(state_dir or default_state_dir()).endpoints.api_url)
