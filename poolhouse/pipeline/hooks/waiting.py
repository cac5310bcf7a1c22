"""Async hooks called from threads: a loop of their own runs them, one for a process, started at the first need.

asyncio is imported at that need: handler processes start faster without it.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

#: Longest time that a thread, or the API, waits for an async hook, in seconds.
LONGEST_S = 10.0


class HooksLoop:
    """An event loop on a thread of its own, once something waits for it. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def wait_for(self, awaitable: Awaitable[Any]) -> Any:
        """Wait for it on the loop. Raises what it raises, and `TimeoutError` after `LONGEST_S`."""
        import asyncio  # noqa: PLC0415 - see above

        return asyncio.run_coroutine_threadsafe(bounded(awaitable), self._started()).result()

    def _started(self) -> asyncio.AbstractEventLoop:
        import asyncio  # noqa: PLC0415 - see above

        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="hooks-loop", daemon=True).start()
            return self._loop


async def bounded(awaitable: Awaitable[Any]) -> Any:
    """Await it for at most `LONGEST_S`. Raises `TimeoutError`."""
    import asyncio  # noqa: PLC0415 - see above

    async with asyncio.timeout(LONGEST_S):
        return await awaitable


_LOOP = HooksLoop()
wait_for = _LOOP.wait_for
