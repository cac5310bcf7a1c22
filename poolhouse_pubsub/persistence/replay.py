"""Reads the log back into an emulator."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from poolhouse_pubsub import protos
from poolhouse_pubsub.core.message import Message
from poolhouse_pubsub.core.snapshots import Snapshot
from poolhouse_pubsub.core.subscription import Subscription
from poolhouse_pubsub.core.topic import Topic
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
)
from poolhouse_pubsub.service import Service
from poolhouse_pubsub.service.schemas import Revision
from poolhouse_pubsub.service.subscription_config import rules_of


class _Backlog:
    """What one subscription holds, while the log is read."""

    def __init__(self) -> None:
        self.unacked: dict[int, Message] = {}
        self.retained: dict[int, Message] = {}
        self.failures: dict[int, int] = {}


class Replay:
    """The state that a sequence of records leads to."""

    def __init__(self) -> None:
        self.counters = Counters(boot=-1, last_message_id=0, last_uid=0, last_published_us=0)
        self._resources: dict[str, dict[str, Put]] = defaultdict(dict)
        #: Every message of the log: what a seek or a snapshot names is among them.
        self._messages: dict[int, Message] = {}
        self._backlogs: dict[str, _Backlog] = defaultdict(_Backlog)
        self._kept: dict[str, list[Message]] = defaultdict(list)
        self._snapshots: dict[str, tuple[Captured, list[Message]]] = {}
        self._last_uid = 0

    def apply(self, record: Record) -> None:
        """Take the next record."""
        match record:
            case Counters():
                self.counters = record
            case Put(kind="snapshot"):
                captured, messages = self._snapshots[record.name]
                changed = Captured(captured.name, captured.topic_uid, record.config, ())
                self._snapshots[record.name] = (changed, messages)
            case Put():
                self._resources[record.kind][record.name] = record
                self._last_uid = max(self._last_uid, int(record.uid or "0", 16))
            case Drop():
                self._drop(record)
            case Published():
                self._publish(record)
            case Left():
                backlog = self._backlogs[record.uid]
                for id in record.ids:
                    message = backlog.unacked.pop(id, None) or backlog.retained.pop(id, None)
                    backlog.failures.pop(id, None)
                    if record.retained and message is not None:
                        backlog.retained[id] = message
            case Failed():
                self._backlogs[record.uid].failures[record.id] = record.failures
            case Replaced():
                backlog = self._backlogs[record.uid]
                backlog.unacked = {id: self._messages[id] for id in record.unacked}
                backlog.retained = {id: self._messages[id] for id in record.retained}
                backlog.failures.clear()
            case Captured():
                self._snapshots[record.name] = (record, [self._messages[id] for id in record.ids])

    def _drop(self, record: Drop) -> None:
        if record.kind == "snapshot":
            self._snapshots.pop(record.name, None)
            return
        put = self._resources[record.kind].pop(record.name, None)
        if put is not None and record.kind == "subscription":
            self._backlogs.pop(put.uid, None)
        elif put is not None and record.kind == "topic":
            self._kept.pop(put.uid, None)

    def _publish(self, record: Published) -> None:
        for message, uids in zip(record.messages, record.takers, strict=True):
            self._messages[message.id] = message
            for uid in uids:
                self._backlogs[uid].unacked[message.id] = message
        if record.kept:
            self._kept[record.topic_uid].extend(record.messages)
        for captured, messages in self._snapshots.values():
            if captured.topic_uid == record.topic_uid:
                messages.extend(record.messages)

    def build(self, service: Service) -> None:
        """Put the state into an emulator that is empty and keeps no journal yet."""
        emulator = service.emulator
        emulator.boot = self.counters.boot + 1
        emulator.last_message_id = max(self.counters.last_message_id, max(self._messages, default=0))
        emulator.last_uid = max(self.counters.last_uid, self._last_uid)
        stamps = (message.published_us for message in self._messages.values())
        emulator.last_published_us = max(self.counters.last_published_us, max(stamps, default=0))
        for put in self._resources["schema"].values():
            listed = protos.ListSchemaRevisionsResponse.FromString(put.config)
            service.schemas.revisions[put.name] = [Revision(config) for config in listed.schemas]
        for put in self._resources["topic"].values():
            topic = Topic(put.name, uid=put.uid, config=protos.Topic.FromString(put.config))
            emulator.topics[put.name] = topic
            topic.keep(self._kept.get(put.uid, []))
        for put in self._resources["subscription"].values():
            self._build_subscription(service, put)
        for captured, messages in self._snapshots.values():
            config = protos.Snapshot.FromString(captured.config)
            snapshot = Snapshot(captured.name, topic_uid=captured.topic_uid, config=config, unacked=messages)
            found = emulator.topics.get(config.topic)
            emulator.add_snapshot(snapshot, found if found and found.uid == captured.topic_uid else None)
        for put in self._resources["ingested"].values():
            emulator.ingested[put.uid, put.name.partition("/")[2]] = int(put.config)
        for put in self._resources["policy"].values():
            service.iam.restore(put.name, protos.Policy.FromString(put.config))

    def _build_subscription(self, service: Service, put: Put) -> None:
        emulator = service.emulator
        config: Any = protos.Subscription.FromString(put.config)
        topic = None if config.detached else emulator.topics.get(config.topic)
        subscription = Subscription(
            put.name,
            topic=topic,
            config=config,
            uid=put.uid,
            rules=rules_of(config, models=emulator.models),
            host=emulator,
        )
        emulator.subscriptions[put.name] = subscription
        if topic is not None:
            topic.subscriptions[put.name] = None
        backlog = self._backlogs.get(put.uid)
        if backlog is not None:
            subscription.retained.update(backlog.retained)
            subscription.replace(backlog.unacked[id] for id in sorted(backlog.unacked))
            subscription.backlog.restore_failures(backlog.failures)
        emulator.used(subscription)
