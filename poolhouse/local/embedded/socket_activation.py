"""A service that starts at the first connection: until then it costs an open socket and nothing else."""

from __future__ import annotations

import asyncio
import socket

from poolhouse.local.backend import ServiceStatus
from poolhouse.local.embedded.instance import Instance


class OnDemand:
    """An instance and the socket that it inherits. All methods belong to the supervisor's event loop."""

    def __init__(self, instance: Instance, listener: socket.socket) -> None:
        """Starts nothing yet.

        Args:
            instance: takes connections from the socket.
            listener: closed in the end.
        """
        self._instance = instance
        self._listener = listener
        self._started = False

    def open(self) -> None:
        """Start the instance at the first connection, which waits in the socket meanwhile."""
        self._instance.log.write_bytes(b"")
        asyncio.get_running_loop().add_reader(self._listener, self._start)

    def status(self) -> tuple[ServiceStatus, ...]:
        """How it is doing; nothing before it was started."""
        return (self._instance.status(),) if self._started else ()

    async def stop(self) -> None:
        """Take no more connections and end it."""
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        await self._instance.stop()

    def _start(self) -> None:
        asyncio.get_running_loop().remove_reader(self._listener)
        self._started = True
        self._instance.start()
