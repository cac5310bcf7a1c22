"""`invoke up --autoscale`: how many workers each queue is to have, by the rule that the deployed autoscaler follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from poolhouse.local.backend import QueueScale
from poolhouse.pipeline.config.queue import Queue
from poolhouse.pipeline.config.scaling import SCALE_DOWN_WINDOW_S, Scaler

#: How often the backlog is looked at, in seconds. The deployed autoscaler looks less often
#: (`poolhouse.pipeline.config.scaling.POLL_S`): its figures cost a call and are minutes old,
#: while the emulator's are free and of this moment.
LOOK_S = 1.0


class Autoscale:
    """What was last seen and decided for every queue.

    Args:
        queues: those of pipeline.toml.
        window_s: how long a lower wish must last before it is followed, in seconds; None: as deployed.
    """

    def __init__(self, queues: Sequence[Queue], *, window_s: float | None = None) -> None:
        """Nothing is seen yet: every queue is to have its least."""
        window_s = SCALE_DOWN_WINDOW_S if window_s is None else window_s
        self._queues = {queue.name: queue for queue in queues}
        self._scalers = {queue.name: Scaler(queue.workers, window_s=window_s) for queue in queues}
        self._wanted = {queue.name: queue.workers.min_instances for queue in queues}
        self._backlog: dict[str, int | None] = dict.fromkeys(self._queues)

    def decide(self, at_s: float, *, queue: str, backlog: int | None, current: int) -> int:
        """Instances that a queue is to have from now on.

        Args:
            at_s: as `Scaler.decide` takes it.
            queue: its name.
            backlog: messages not finished; None: not known now, so nothing changes.
            current: instances there are.
        """
        self._backlog[queue] = backlog
        if backlog is None:
            return current
        self._wanted[queue] = self._scalers[queue].decide(at_s, backlog=backlog, current=current)
        return self._wanted[queue]

    def figures(self, running: Mapping[str, int]) -> tuple[QueueScale, ...]:
        """For `invoke status`.

        Args:
            running: instances that are ready, by queue.
        """
        return tuple(
            QueueScale(
                queue=name,
                backlog=self._backlog[name],
                running=running[name],
                wanted=self._wanted[name],
                least=queue.workers.min_instances,
                most=queue.workers.max_instances,
            )
            for name, queue in self._queues.items()
        )
