"""The loops that write export subscriptions, driven by the core: each is one more consumer of its subscription."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from poolhouse_pubsub.core.emulator import Emulator
from poolhouse_pubsub.core.leases import Consumer, Entry, Mode
from poolhouse_pubsub.core.loops import Loops
from poolhouse_pubsub.core.message import Message
from poolhouse_pubsub.core.rules import Backoff
from poolhouse_pubsub.core.subscription import Subscription
from poolhouse_pubsub.core.timers import NEVER
from poolhouse_pubsub.exports.cloud_storage import CloudStorageSink
from poolhouse_pubsub.exports.sink import ExportError, Sink
from poolhouse_pubsub.exports.tables import BigQuerySink, BigtableSink
from poolhouse_pubsub.service.subscription_config import EXPORTS, delivery_of

_log = logging.getLogger(__name__)

#: Waits between attempts while a destination fails and no retry policy says otherwise.
_BACKOFF: Final = Backoff(min_s=1.0, max_s=60.0)
#: A lease here ends with the write, never by time: the loop is in this process.
_LEASE_S: Final = 366 * 86_400.0


class Exporter:
    """All export loops of one emulator.

    Args:
        emulator: The state.
        schema_of: The definition that a topic's SchemaSettings name.
        folder: Where tables are written to as files; None for nowhere.
    """

    def __init__(self, emulator: Emulator, *, schema_of: Callable[[Any], str], folder: Path | None) -> None:
        self._emulator = emulator
        self._schema_of = schema_of
        self._folder = folder
        self._loops: Loops[_ExportLoop] = Loops()

    def follow(self, subscription: Subscription) -> None:
        """Start, change or end the export of a subscription that was made or changed."""
        running = self._loops.get(subscription)
        wanted = _config_of(subscription)
        if running is not None and wanted is not None and running.config == wanted:
            running.show()  # an update of something else has set the state back
            return
        if running is not None:
            self._loops.end(subscription)
        if wanted is not None:
            loop = _ExportLoop(subscription, wanted, emulator=self._emulator, sink=self._sink(subscription))
            self._loops.start(subscription, loop)

    def _sink(self, subscription: Subscription) -> Sink:
        match delivery_of(subscription.config):
            case "cloud_storage_config":
                return CloudStorageSink(subscription, self._emulator, self._schema_of)
            case "bigquery_config":
                return BigQuerySink(subscription, self._folder)
            case _:
                return BigtableSink(subscription, self._folder)

    def stop(self) -> None:
        """End all exports; what was not written yet stays in its subscription."""
        self._loops.stop()


def _config_of(subscription: Subscription) -> Any:
    """Return a copy of the export's config without its state, None for a subscription that exports nothing."""
    field = delivery_of(subscription.config)
    if field not in EXPORTS or subscription.config.detached:
        return None
    config = type(getattr(subscription.config, field))()
    config.CopyFrom(getattr(subscription.config, field))
    config.ClearField("state")
    return config


class _ExportLoop:
    def __init__(self, subscription: Subscription, config: Any, *, emulator: Emulator, sink: Sink) -> None:
        self.config = config
        self._subscription = subscription
        self._emulator = emulator
        self._sink = sink
        self._batch: list[tuple[Message, Entry]] = []
        self._batch_bytes = 0
        #: Entries of the batches that are being written.
        self._writing: set[Entry] = set()
        self._failures = 0
        self._state = "ACTIVE"
        self._tasks: set[asyncio.Task[None]] = set()
        self._due = emulator.timers.timer(lambda now: self._flush())
        self._pause = emulator.timers.timer(self._resume)
        self._consumer = Consumer(
            Mode.STREAM,
            token="export",  # noqa: S106 - not a secret
            deliver=self._deliver,
            ack_deadline_s=_LEASE_S,
        )
        self._consumer.ready = False

    def start(self) -> None:
        self._subscription.connect(self._consumer)
        self._spawn(self._check())

    def stop(self) -> None:
        self._due.cancel()
        self._pause.cancel()
        self._subscription.disconnect(self._consumer)
        for task in list(self._tasks):
            task.cancel()
        self._subscription.give_back([*(entry for _, entry in self._batch), *self._writing])
        self._batch = []
        self._writing.clear()

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _check(self) -> None:
        """Look at the destination before the first message is taken."""
        try:
            await asyncio.to_thread(self._sink.check)
        except Exception as error:  # noqa: BLE001 - see _fail
            self._fail([], error)
        else:
            self._failures = 0
            self.show("ACTIVE")
            self._resume(self._emulator.clock.now())

    def _deliver(self, batch: list[Entry]) -> None:
        limits = self._sink.limits
        for entry in batch:
            message = self._subscription.outgoing(entry)
            self._batch.append((message, entry))
            self._batch_bytes += len(message.wire)
            if len(self._batch) == limits.messages or 0 < limits.size_bytes <= self._batch_bytes:
                self._flush()
        if limits.seconds <= 0:
            self._flush()
        elif self._batch:
            self._due.at_most(self._emulator.clock.now() + limits.seconds)

    def _flush(self) -> None:
        self._due.set(NEVER)
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        if batch:
            self._writing.update(entry for _, entry in batch)
            self._spawn(self._write(batch))

    async def _write(self, batch: Sequence[tuple[Message, Entry]]) -> None:
        try:
            rejected = await asyncio.to_thread(self._sink.write, [message for message, _ in batch])
        except Exception as error:  # noqa: BLE001 - see _fail
            self._writing.difference_update(entry for _, entry in batch)
            self._fail(batch, error)
            return
        self._writing.difference_update(entry for _, entry in batch)
        self._failures = 0
        self.show("SCHEMA_MISMATCH" if rejected else "ACTIVE")
        subscription, now = self._subscription, self._emulator.clock.now()
        if not rejected:
            subscription.delivery_error = ""
        subscription.acknowledge([entry.ack_id for place, (_, entry) in enumerate(batch) if place not in rejected])
        for place, reason in rejected.items():
            subscription.refuse(batch[place][1], reason=reason, now=now)
        self._emulator.commit()

    def _fail(self, batch: Sequence[tuple[Message, Entry]], error: Exception) -> None:
        """Give messages back as failed deliveries, and wait before the next attempt.

        An error that no sink foresaw counts as well: a batch that nobody gives back would never come again.
        """
        subscription, now = self._subscription, self._emulator.clock.now()
        self._failures += 1
        if self._failures == 1:
            foreseen = isinstance(error, ExportError)
            _log.warning(
                "%s can't be exported, it is tried again: %s",
                subscription.name,
                error,
                exc_info=None if foreseen else error,
            )
        self.show(error.state if isinstance(error, ExportError) else "NOT_FOUND")
        self._consumer.ready = False
        self._pause.set(now + _BACKOFF.wait_s(self._failures))
        for _, entry in batch:
            subscription.refuse(entry, reason=str(error), now=now)
        self._emulator.commit()

    def _resume(self, _now: float) -> None:
        if self._failures and not self._subscription.backlog:
            # With nothing to write, only a check shows whether the destination is back.
            self._spawn(self._check())
            return
        self._consumer.ready = True
        self._emulator.woken(self._subscription)

    def show(self, state: str | None = None) -> None:
        """Show the state, or the latest one again, in the config and in the subscription, where it differs."""
        self._state = state or self._state
        config = self._subscription.config
        field = delivery_of(config)
        if field not in EXPORTS or config.detached:
            return
        export = getattr(config, field)
        number = export.State.Value(self._state)
        if export.state != number:
            export.state = number
            config.state = config.State.Value("ACTIVE" if self._state == "ACTIVE" else "RESOURCE_ERROR")
            self._emulator.save_subscription(self._subscription)
