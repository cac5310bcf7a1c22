"""Keeps an emulator in a folder: nothing published is lost and nothing acknowledged comes back over `kill -9`.

A change is written to the log before the call that made it is answered, and the log is rewritten when more than half of
it is about messages that are gone. It is flushed to the disk once a second, so a power cut may cost the last second; an
end of the process costs nothing. What a restart does lose: leases (their messages come again at once) and backoffs.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from poolhouse_pubsub import protos
from poolhouse_pubsub.core.emulator import Emulator
from poolhouse_pubsub.core.message import Message
from poolhouse_pubsub.core.snapshots import Snapshot
from poolhouse_pubsub.core.topic import Topic
from poolhouse_pubsub.persistence.log_file import LogFile
from poolhouse_pubsub.persistence.records import (
    Captured,
    Counters,
    Drop,
    Failed,
    Left,
    Published,
    Put,
    Record,
    Replaced,
    decode,
)
from poolhouse_pubsub.persistence.replay import Replay
from poolhouse_pubsub.service import Service
from poolhouse_pubsub.status import Code, StatusError

_log = logging.getLogger(__name__)

#: The log is not rewritten below this size, in bytes.
LEAST_REWRITE_BYTES = 64 * 1024 * 1024


class Storage:
    """The journal of an emulator, in a folder.

    Args:
        folder: Where the log is; made when it is not there. One emulator at a time.

    Raises:
        OSError: The folder can't be written, or another emulator uses it.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(folder / "lock", os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise OSError(f"{folder} is in use by another emulator: stop it, or take another data folder") from None
        self._folder = folder
        self._log = LogFile(folder / "journal.log")
        self._pending: list[Record] = []
        self._left: dict[tuple[str, bool], list[int]] = defaultdict(list)
        self._service: Service | None = None
        self._rewrite_at = LEAST_REWRITE_BYTES
        #: Called, once until the next `sync`, when something waits to be flushed to the disk.
        self.on_unsynced: Callable[[], None] | None = None

    @property
    def _emulator(self) -> Emulator:
        assert self._service is not None
        return self._service.emulator

    def restore(self, service: Service) -> None:
        """Fill an empty emulator with what the folder holds, and keep it from here on."""
        replay = Replay()
        for raw in self._log.records():
            replay.apply(decode(raw))
        replay.build(service)
        self._service = service
        service.emulator.journal = self
        self._rewrite()

    def put(self, kind: str, name: str, uid: str, config: bytes) -> None:
        """See `Journal`."""
        self._pending.append(Put(kind, name, uid, config))

    def drop(self, kind: str, name: str) -> None:
        """See `Journal`."""
        self._pending.append(Drop(kind, name))

    def published(self, topic: Topic, messages: Sequence[Message], takers: Sequence[Sequence[str]]) -> None:
        """See `Journal`."""
        kept = topic.config.HasField("message_retention_duration")
        self._pending.append(Published(topic.uid, messages, takers, kept))

    def take_back(self) -> None:
        """See `Journal`."""
        self._pending.pop()

    def left(self, uid: str, message: Message) -> None:
        """See `Journal`."""
        self._left[uid, False].append(message.id)

    def retained(self, uid: str, message: Message) -> None:
        """See `Journal`."""
        self._left[uid, True].append(message.id)

    def failed(self, uid: str, message: Message, failures: int) -> None:
        """See `Journal`."""
        self._pending.append(Failed(uid, message.id, failures))

    def replaced(self, uid: str, unacked: Sequence[Message], retained: Iterable[Message]) -> None:
        """See `Journal`."""
        self._leave()
        self._pending.append(Replaced(uid, [each.id for each in unacked], [each.id for each in retained]))

    def captured(self, snapshot: Snapshot) -> None:
        """See `Journal`."""
        self._leave()
        self._pending.append(_captured(snapshot))

    def _leave(self) -> None:
        """Put the departures in their place among the other records."""
        for (uid, retained), ids in self._left.items():
            self._pending.append(Left(uid, ids, retained))
        self._left.clear()

    def commit(self) -> None:
        """See `Journal`."""
        self.write()
        if self._log.size_bytes > self._rewrite_at:
            try:
                self._rewrite()
            except OSError as error:  # nothing is lost by a log that is longer than it has to be
                self._rewrite_at = self._log.size_bytes + LEAST_REWRITE_BYTES
                _log.warning("%s can't be made shorter now: %s", self._folder, error)

    def write(self) -> None:
        """See `Journal`."""
        if self._left:
            self._leave()
        if not self._pending:
            return
        was_synced = not self._log.unsynced
        try:
            self._log.append(record.encode() for record in self._pending)
        except OSError as error:
            # The records stay pending: the next commit tries again. What they record has happened, but is not durable
            # yet.
            raise StatusError(Code.UNAVAILABLE, f"The emulator's data folder can't be written: {error}.") from None
        self._pending.clear()
        if was_synced and self.on_unsynced is not None:
            self.on_unsynced()

    def sync(self) -> None:
        """Flush to the disk; may run on another thread."""
        self._log.sync()

    def close(self) -> None:
        """Flush, and release the folder."""
        self.commit()
        self._log.sync()
        self._log.close()
        os.close(self._lock)

    def _rewrite(self) -> None:
        self._log.rewrite(record.encode() for record in self._state())
        self._rewrite_at = LEAST_REWRITE_BYTES + 2 * self._log.size_bytes

    def _state(self) -> Iterator[Record]:
        emulator = self._emulator
        assert self._service is not None
        yield Counters(emulator.boot, emulator.last_message_id, emulator.last_uid, emulator.last_published_us)
        for topic in emulator.topics.values():
            yield Put("topic", topic.name, topic.uid, topic.config.SerializeToString())
        for subscription in emulator.subscriptions.values():
            yield Put("subscription", subscription.name, subscription.uid, subscription.config.SerializeToString())
        yield from _messages(emulator)
        for subscription in emulator.subscriptions.values():
            if subscription.retained:
                yield Left(subscription.uid, list(subscription.retained), True)
            for entry in subscription.backlog:
                if entry.failures:
                    yield Failed(subscription.uid, entry.message.id, entry.failures)
        for snapshot in emulator.snapshots.values():
            yield _captured(snapshot)
        for name, revisions in self._service.schemas.revisions.items():
            listed = protos.ListSchemaRevisionsResponse(schemas=[revision.config for revision in revisions])
            yield Put("schema", name, "", listed.SerializeToString())
        uids = {topic.uid for topic in emulator.topics.values()}
        for (uid, name), generation in emulator.ingested.items():
            if uid in uids:
                yield Put("ingested", f"{uid}/{name}", uid, str(generation).encode())
        for name, policy in self._service.iam.policies():
            yield Put("policy", name, "", policy.SerializeToString())


def _captured(snapshot: Snapshot) -> Captured:
    ids = [message.id for message in snapshot.messages()]
    return Captured(snapshot.name, snapshot.topic_uid, snapshot.config.SerializeToString(), ids)


def _messages(emulator: Emulator) -> Iterator[Record]:
    """Every message that anything holds, in publish order, once."""
    messages: dict[int, Message] = {}
    takers: dict[int, list[str]] = defaultdict(list)
    topics: dict[int, str] = {}
    for topic in emulator.topics.values():
        for message in topic.retained():
            messages[message.id] = message
            topics[message.id] = topic.uid
    for subscription in emulator.subscriptions.values():
        for message in (*subscription.backlog.messages(), *subscription.retained.values()):
            messages[message.id] = message
            takers[message.id].append(subscription.uid)
    for snapshot in emulator.snapshots.values():
        for message in snapshot.messages():
            messages[message.id] = message
    for id in sorted(messages):
        yield Published(topics.get(id, "0"), [messages[id]], [takers.get(id, [])], id in topics)
