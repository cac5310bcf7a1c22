"""The gauges of the queues: looked up when the metrics are asked for, at no other time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import structlog

from poolhouse.api.services import Services
from poolhouse.pipeline.errors import PoolhouseError
from poolhouse.pipeline.index.figures import unfinished
from poolhouse.pipeline.metrics.process_metrics import Observed
from poolhouse.pipeline.tasks.records import Status

#: By the label's value, the status of the tasks that it counts; dead letters are counted by themselves.
STATES = {"waiting": Status.QUEUED, "running": Status.RUNNING, "delayed": Status.SCHEDULED}
#: Longest time that a look waits for the counts of dead letters, in seconds.
TIMEOUT_S = 10.0

_log = structlog.get_logger(__name__)


class QueueGauges:
    """Reads the index of tasks, and counts dead letters. Thread-safe."""

    def __init__(self, services: Services, *, loop: asyncio.AbstractEventLoop) -> None:
        """Look nowhere yet.

        Args:
            services: of the application.
            loop: where the application runs, which shares the counts of dead letters with `GET /queues`.
        """
        self._services = services
        self._loop = loop

    def look(self) -> list[Observed]:
        """Return the tasks of each queue and state; nothing while storage does not answer. Not from the loop itself."""
        try:
            return list(self._look())
        except (PoolhouseError, TimeoutError) as error:
            _log.warning("the queues could not be measured", error=str(error))
            return []

    def _look(self) -> Iterator[Observed]:
        counts = unfinished(self._services.index.current())
        dead = asyncio.run_coroutine_threadsafe(self._dead_letters(), self._loop).result(TIMEOUT_S)
        for queue in self._services.topology.by_name:
            for state, status in STATES.items():
                yield counts.get((queue, status), 0), {"queue": queue, "state": state}
            yield dead[queue], {"queue": queue, "state": "dead"}

    async def _dead_letters(self) -> dict[str, int]:
        queues = tuple(self._services.topology.by_name)
        counts = await asyncio.gather(*map(self._services.count_dead_letters, queues))
        return dict(zip(queues, counts, strict=True))
