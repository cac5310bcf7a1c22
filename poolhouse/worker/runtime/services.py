"""What attempts and their settlement work with: made once for a worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from poolhouse.pipeline.config.topology import Topology
from poolhouse.pipeline.control.state import NOTHING, QueueControl
from poolhouse.pipeline.hooks import Hooks
from poolhouse.pipeline.messaging.publisher import Publisher
from poolhouse.pipeline.store import ObjectStore
from poolhouse.pipeline.tasks.after_end import Rule
from poolhouse.pipeline.tasks.task_ids import TaskIds
from poolhouse.worker.registry import Registry
from poolhouse.worker.runtime.retrying import RetryUntilStopped


@dataclass(frozen=True, kw_only=True)
class Services:
    """Queues, bucket, handlers and clock of one worker."""

    topology: Topology
    #: Id of the project that all of it is in.
    project: str
    registry: Registry
    store: ObjectStore
    #: Name of the bucket that the store is.
    bucket: str
    publisher: Publisher
    task_ids: TaskIds
    now: Callable[[], datetime]
    #: Repeats calls to storage and Pub/Sub until they succeed or the worker stops.
    retry_io: RetryUntilStopped
    #: What is decided about the queues, as far as this worker knows.
    control: Callable[[], QueueControl] = lambda: NOTHING
    hooks: Hooks = field(default_factory=Hooks)
    #: What follows the end of a task.
    after_end: Sequence[Rule] = ()
