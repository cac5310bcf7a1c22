"""The clients that `TaskType.submit` uses outside of handlers: one for the process, and one for each event loop."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import AsyncGenerator

from poolhouse.client.async_client import AsyncClient
from poolhouse.client.client import Client
from poolhouse.client.target import URL_VARIABLE

_lock = threading.Lock()
#: By process and address: a fork must not use its parent's connections.
_clients: dict[tuple[int, str], Client] = {}
#: By event loop and address.
_Key = tuple[asyncio.AbstractEventLoop, str]
_async_clients: dict[_Key, AsyncClient] = {}
_keepers: dict[_Key, AsyncGenerator[None, None]] = {}


def client() -> Client:
    """Return the process's client of the API that POOLHOUSE_API_URL names. Raises `ConfigError` where it is unset."""
    key = (os.getpid(), os.environ.get(URL_VARIABLE, ""))
    with _lock:
        if key not in _clients:
            _clients[key] = Client()
            atexit.register(_clients[key].close)
        return _clients[key]


async def async_client() -> AsyncClient:
    """Return the running loop's client of that API. It is closed with the loop. Raises `ConfigError`."""
    key = (asyncio.get_running_loop(), os.environ.get(URL_VARIABLE, ""))
    if key not in _async_clients:
        # A generator that has begun: the loop closes it in its end (`asyncio.run`, `shutdown_asyncgens`).
        _keepers[key] = _keep(key)
        await anext(_keepers[key])
    return _async_clients[key]


async def _keep(key: _Key) -> AsyncGenerator[None, None]:
    async with AsyncClient() as _async_clients[key]:
        try:
            yield
        finally:
            del _async_clients[key], _keepers[key]
