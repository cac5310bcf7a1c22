"""How many bytes of large bodies are held at the same time: what bounds the memory of an instance."""

from __future__ import annotations

import asyncio
from collections import deque

from poolhouse.api.problems import unavailable

#: The longest that a body waits for its turn, in seconds.
WAIT_S = 30.0


class BodyGate:
    """Lets large bodies in, in the order in which they come, as long as there is room."""

    def __init__(self, *, capacity_bytes: int, wait_s: float = WAIT_S) -> None:
        """Let everything in that fits.

        Args:
            capacity_bytes: large bodies in hand; also the longest that one body may be. A body becomes several times
                its size as objects.
            wait_s: the longest that a body waits for its turn, in seconds.
        """
        self.capacity_bytes = capacity_bytes
        self._free_bytes = capacity_bytes
        self._wait_s = wait_s
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def enter(self, size: int) -> int:
        """Wait for room; returns how much was taken, for `leave`.

        Args:
            size: bytes of the body, at most.

        Raises:
            Problem: 503, no room in time.
        """
        size = min(size, self.capacity_bytes)
        if not self._waiting and size <= self._free_bytes:
            self._free_bytes -= size
            return size
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            async with asyncio.timeout(self._wait_s):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():  # its turn came in the very moment that it was given up
                self._free_bytes += size
            turn.cancel()
            self._admit()
            if isinstance(error, TimeoutError):
                raise unavailable("too many large bodies at the same time") from None
            raise
        return size

    def leave(self, size: int) -> None:
        """Give back what `enter` returned."""
        self._free_bytes += size
        self._admit()

    def _admit(self) -> None:
        while self._waiting:
            size, turn = self._waiting[0]
            if not turn.done():
                if size > self._free_bytes:
                    return
                self._free_bytes -= size
                turn.set_result(None)
            self._waiting.popleft()
