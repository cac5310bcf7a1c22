"""A client of the local stack's API."""

from __future__ import annotations

from pathlib import Path

from poolhouse.client.api import Api
from poolhouse.local import state
from poolhouse.local.backend import default_state_dir
from poolhouse.local.errors import NoStack


def stack_api(state_dir: Path | None = None) -> Api:
    """The API of the local stack that is up. Raises `NoStack`."""
    found = state.read_live(state_dir or default_state_dir())
    if found is None:
        raise NoStack
    return Api(found.endpoints.api_url)
