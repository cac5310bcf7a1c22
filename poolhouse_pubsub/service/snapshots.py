"""google.pubsub.v1.Subscriber: snapshots and seeks."""

from __future__ import annotations

from typing import Any

from poolhouse_pubsub import limits, names, protos
from poolhouse_pubsub.core.emulator import Emulator, timestamp
from poolhouse_pubsub.core.snapshots import LEAST_LIFETIME_S, LIFETIME_S, Snapshot, expiry_s
from poolhouse_pubsub.service import masks, paging
from poolhouse_pubsub.service.quota import limit_project, limit_topic
from poolhouse_pubsub.service.subscriber import Subscriber
from poolhouse_pubsub.service.tags import check_tags
from poolhouse_pubsub.status import already_exists, invalid, not_found, precondition

_MUTABLE = frozenset({"labels", "expire_time"})


class Snapshots:
    """The RPCs on snapshots.

    Args:
        emulator: The state.
        subscriber: Where subscriptions are found.
    """

    def __init__(self, emulator: Emulator, subscriber: Subscriber) -> None:
        self._emulator = emulator
        self._subscriber = subscriber

    def _snapshot(self, name: str) -> Snapshot:
        snapshot = self._emulator.snapshots.get(name)
        if snapshot is None:
            names.check(name, "snapshots")
            raise not_found(name)
        return snapshot

    def create_snapshot(self, request: Any) -> Any:
        """CreateSnapshot."""
        emulator = self._emulator
        if request.name:
            names.check(request.name, "snapshots")
        subscription = self._subscriber.find(request.subscription)
        project = names.project_of(request.name or request.subscription)
        # The server's own names are drawn from the seed, so that a run can be repeated.
        name = request.name or f"projects/{project}/snapshots/snapshot-{emulator.random.getrandbits(64):016x}"
        if name in emulator.snapshots:
            raise already_exists(name)
        limits.check_labels(request.labels)
        check_tags(request.tags)
        limit_project(emulator.snapshots, project, limits.SNAPSHOTS, "snapshots")
        topic = subscription.topic
        if topic is None:
            raise precondition(f"Subscription {subscription.name} has no topic any more: it can't have a snapshot.")
        limit_topic(topic.snapshots, limits.TOPIC_SNAPSHOTS, "snapshots")
        now = emulator.clock.now()
        expires = expiry_s(now=now, oldest_us=subscription.backlog.oldest_us())
        if expires - now < LEAST_LIFETIME_S:
            raise precondition(
                f"The oldest unacked message of {subscription.name} is so old that the snapshot would expire within "
                "an hour."
            )
        config = protos.Snapshot(name=name, topic=topic.name, expire_time=timestamp(expires), labels=request.labels)
        emulator.used(subscription)
        return emulator.create_snapshot(config, subscription=subscription, topic=topic).config

    def get_snapshot(self, request: Any) -> Any:
        """GetSnapshot."""
        return self._snapshot(request.snapshot).config

    def update_snapshot(self, request: Any) -> Any:
        """UpdateSnapshot."""
        snapshot = self._snapshot(request.snapshot.name)
        config = protos.Snapshot()
        config.CopyFrom(snapshot.config)
        changed = masks.apply(config, request.snapshot, request.update_mask.paths, mutable=_MUTABLE)
        limits.check_labels(config.labels)
        if "expire_time" in changed:
            now = self._emulator.clock.now()
            expires = limits.moment_us(config.expire_time, "expire_time") / 1e6
            if not now < expires <= now + LIFETIME_S:
                raise invalid("Invalid expire_time: it is after now and at most 7 days away.")
        snapshot.config = config
        self._emulator.plan_snapshot(snapshot)
        self._emulator.save_snapshot(snapshot)
        return config

    def list_snapshots(self, request: Any) -> Any:
        """ListSnapshots."""
        prefix = names.check_project(request.project) + "/"
        snapshots = self._emulator.snapshots
        chosen, token = paging.page(
            (name for name in snapshots if name.startswith(prefix)), size=request.page_size, token=request.page_token
        )
        return protos.ListSnapshotsResponse(
            snapshots=[snapshots[name].config for name in chosen], next_page_token=token
        )

    def delete_snapshot(self, request: Any) -> Any:
        """DeleteSnapshot."""
        self._emulator.delete_snapshot(self._snapshot(request.snapshot))
        return protos.Empty()

    def seek(self, request: Any) -> Any:
        """Seek."""
        subscription = self._subscriber.find(request.subscription)
        target = request.WhichOneof("target")
        if target is None:
            raise invalid("Seek needs a target: a time or a snapshot.")
        if subscription.config.detached:
            raise precondition(f"Subscription is detached: {subscription.name}.")
        self._emulator.used(subscription)
        if target == "time":
            self._emulator.seek_to_time(subscription, limits.moment_us(request.time, "time"))
            return protos.SeekResponse()
        snapshot = self._snapshot(request.snapshot)
        if subscription.topic is None or subscription.topic.uid != snapshot.topic_uid:
            raise precondition(
                f"Snapshot {snapshot.name} is of topic {snapshot.config.topic}, subscription {subscription.name} is of "
                f"{subscription.config.topic}: they must be of the same topic."
            )
        self._emulator.seek_to_snapshot(subscription, snapshot)
        return protos.SeekResponse()
