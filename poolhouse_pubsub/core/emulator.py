"""The emulator's state: topics, subscriptions and snapshots, what happens between them, and the time.

Everything here runs in one thread and waits for nothing. Names and limits are the service layer's concern; this layer
takes resources that are right.
"""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import Callable, Sequence
from typing import Any

from poolhouse_pubsub import names, protos
from poolhouse_pubsub.core import dead_letter, snapshots
from poolhouse_pubsub.core.clock import Clock
from poolhouse_pubsub.core.interfaces import FaultInjector, Journal
from poolhouse_pubsub.core.leases import Entry
from poolhouse_pubsub.core.message import Message, seal
from poolhouse_pubsub.core.rules import Rules
from poolhouse_pubsub.core.snapshots import Snapshot
from poolhouse_pubsub.core.subscription import Subscription
from poolhouse_pubsub.core.timers import Timer, TimerQueue
from poolhouse_pubsub.core.topic import Topic
from poolhouse_pubsub.resources import Resources
from poolhouse_pubsub.status import StatusError
from poolhouse_pubsub.transforms import Models

_log = logging.getLogger(__name__)


class Emulator:
    """All state of one emulator.

    Args:
        clock: Its time.
        seed: Of everything random: the same calls with the same seed give the same answers.
        boot: Number of this start, for state that outlives the process.
    """

    def __init__(self, *, clock: Clock | None = None, seed: int | None = None, boot: int = 0) -> None:
        self.clock = clock if clock is not None else Clock()
        self.timers = TimerQueue()
        self.random = random.Random(seed)
        self.boot = boot
        self.topics: Resources[Topic] = Resources()
        self.subscriptions: Resources[Subscription] = Resources()
        self.snapshots: Resources[Snapshot] = Resources()
        #: Objects of buckets that topics have imported: generation by uid of the topic and name.
        self.ingested: dict[tuple[str, str], int] = {}
        #: What stands in for models of AI inference, by endpoint.
        self.models: Models = {}
        #: Whether a subscription's dead letters may go to a topic; None where IAM is not enforced.
        self.may_forward: Callable[[str, str], bool] | None = None
        self.journal: Journal | None = None
        self.fault_injector: FaultInjector | None = None
        #: Called when something can be delivered; it is to call `pump` soon.
        self.on_woken: Callable[[], None] | None = None
        #: Called with a subscription that was created or changed.
        self.on_saved: Callable[[Subscription], None] | None = None
        #: Called with a topic that was created, changed or deleted.
        self.on_topic: Callable[[Topic], None] | None = None
        #: Called after a reset, with no argument.
        self.on_reset: list[Callable[[], None]] = []
        self.last_message_id = 0
        self.last_uid = 0
        self.last_published_us = 0
        self._dirty: dict[Subscription, None] = {}
        self._snapshot_timers: dict[str, Timer] = {}
        self._topic_sweep = self.timers.timer(self._sweep_topics)

    def advance(self, seconds: float) -> None:
        """Move time forward, and let everything that is due by then happen, in order, each at its own moment.

        Raises:
            ValueError: `seconds` is negative.
        """
        self._run_until(self.clock.skip(seconds))

    def run_due(self) -> None:
        """Let everything happen that is due by now."""
        self._run_until(self.clock.now())

    def _run_until(self, target: float) -> None:
        try:
            while True:
                due = self.timers.next_due
                timer = self.timers.pop_due(target)
                if timer is None:
                    break
                self.clock.hold(due)
                timer.fire(due)
                self.pump()
        finally:
            self.clock.hold(None)
        self.commit()

    def new_uid(self) -> str:
        """Return a new identity for a resource."""
        self.last_uid += 1
        return f"{self.last_uid:x}"

    def create_topic(self, config: Any) -> Topic:
        """Make a topic from its resource."""
        topic = Topic(config.name, uid=self.new_uid(), config=config)
        self.topics[topic.name] = topic
        self.save_topic(topic)
        return topic

    def save_topic(self, topic: Topic) -> None:
        """Write a topic's resource down, after any change of it."""
        if self.journal is not None:
            self.journal.put("topic", topic.name, topic.uid, topic.config.SerializeToString())
        topic.forget(self.clock.now())
        if self.on_topic is not None:
            self.on_topic(topic)

    def remember_ingested(self, topic: Topic, name: str, generation: int) -> None:
        """Note that a topic has imported an object, once its messages are published."""
        self.ingested[topic.uid, name] = generation
        if self.journal is not None:
            self.journal.put("ingested", f"{topic.uid}/{name}", topic.uid, str(generation).encode())
        self.commit()

    def delete_topic(self, topic: Topic) -> None:
        """Delete a topic; its subscriptions live on without one."""
        del self.topics[topic.name]
        if self.journal is not None:
            self.journal.drop("topic", topic.name)
        for name in topic.subscriptions:
            subscription = self.subscriptions[name]
            subscription.topic = None
            subscription.config.topic = names.DELETED_TOPIC
            self.save_subscription(subscription)
        for name in topic.snapshots:
            snapshot = self.snapshots[name]
            snapshot.config.topic = names.DELETED_TOPIC
            self.save_snapshot(snapshot)
        if self.on_topic is not None:
            self.on_topic(topic)
        self.commit()

    def new_message_id(self) -> str:
        """Return an id for a message that is filtered out."""
        self.last_message_id += 1
        return str(self.last_message_id)

    def publish(self, topic: Topic, drafts: Sequence[Any]) -> list[str]:
        """Publish PubsubMessages and return their ids.

        Raises:
            StatusError: UNAVAILABLE, they can't be written down; none was published then.
        """
        # Never an earlier time than the message before: publish order and publish time agree, whatever the clock does.
        stamp = self.last_published_us = max(int(self.clock.now() * 1_000_000), self.last_published_us)
        first = self.last_message_id + 1
        self.last_message_id += len(drafts)
        messages = seal(drafts, first_id=first, published_us=stamp)
        shares: list[tuple[Subscription, Sequence[Message]]] = []
        for name in topic.subscriptions:
            subscription = self.subscriptions[name]
            wanted: Sequence[Message] = messages
            if subscription.rules.filter is not None:
                matches = subscription.rules.filter.matches
                wanted = [message for message, draft in zip(messages, drafts, strict=True) if matches(draft.attributes)]
            if wanted:
                shares.append((subscription, wanted))
        self._write_down(topic, messages, shares)
        for subscription, wanted in shares:
            subscription.add(wanted)
        for name in topic.snapshots:
            self.snapshots[name].keep(messages)
        topic.published_count += len(messages)
        topic.keep(messages)
        if topic.retention_s:
            self._topic_sweep.at_most(self.clock.now() + max(1.0, topic.retention_s / 600))
        with contextlib.suppress(StatusError):  # they are published; what else happened is written down later
            self.commit()
        return [str(message.id) for message in messages]

    def _write_down(
        self, topic: Topic, messages: Sequence[Message], shares: Sequence[tuple[Subscription, Sequence[Message]]]
    ) -> None:
        """Write messages down before they are delivered: a refused publisher retries with the same ones."""
        if self.journal is None:
            return
        takers: list[list[str]] = [[] for _ in messages]
        for subscription, wanted in shares:
            for message in wanted:
                takers[message.id - messages[0].id].append(subscription.uid)
        self.journal.write()  # what happened before
        self.journal.published(topic, messages, takers)
        try:
            self.journal.write()
        except StatusError:
            self.journal.take_back()
            raise

    def _sweep_topics(self, now: float) -> None:
        for topic in self.topics.values():
            topic.forget(now)
            if topic.retention_s and next(topic.retained(), None) is not None:
                self._topic_sweep.at_most(now + max(1.0, topic.retention_s / 600))

    def create_subscription(self, config: Any, *, rules: Rules) -> Subscription:
        """Make a subscription from its resource; its topic exists."""
        topic = self.topics[config.topic]
        subscription = Subscription(config.name, topic=topic, config=config, uid=self.new_uid(), rules=rules, host=self)
        self.subscriptions[config.name] = subscription
        topic.subscriptions[config.name] = None
        self.save_subscription(subscription)
        self.used(subscription)
        return subscription

    def save_subscription(self, subscription: Subscription) -> None:
        """Write a subscription's resource down, after any change of it, and notify its streams."""
        if self.journal is not None:
            self.journal.put(
                "subscription", subscription.name, subscription.uid, subscription.config.SerializeToString()
            )
        for changed in list(subscription.on_change.values()):
            changed()
        if self.on_saved is not None:
            self.on_saved(subscription)
        self.commit()

    def delete_subscription(self, subscription: Subscription) -> None:
        """Delete a subscription and its backlog."""
        del self.subscriptions[subscription.name]
        if subscription.topic is not None:
            subscription.topic.subscriptions.pop(subscription.name, None)
        if self.journal is not None:
            self.journal.drop("subscription", subscription.name)
        self._end(subscription)

    def detach_subscription(self, subscription: Subscription) -> None:
        """Cut a subscription off its topic and drop its backlog; it stays as a name."""
        if subscription.topic is not None:
            subscription.topic.subscriptions.pop(subscription.name, None)
            subscription.topic = None
        subscription.config.detached = True
        self.save_subscription(subscription)
        if self.journal is not None:
            self.journal.replaced(subscription.uid, (), ())
        self._end(subscription)

    def _end(self, subscription: Subscription) -> None:
        subscription.expiry.cancel()
        subscription.close()
        for ended in list(subscription.on_end.values()):
            ended()
        self.commit()

    def used(self, subscription: Subscription) -> None:
        """Note that a subscription is in use: its expiration starts anew."""
        subscription.used_at = self.clock.now()
        ttl_s = subscription.rules.expires_after_s
        if ttl_s is None:
            subscription.expiry.cancel()
        elif subscription.expiry.due > subscription.used_at + ttl_s:
            # Otherwise the timer stands early and looks again when it fires: a call costs no place in the heap.
            subscription.expiry.set(subscription.used_at + ttl_s)

    def expire(self, subscription: Subscription, now: float) -> None:
        """Delete a subscription that was not used for its time to live."""
        ttl_s = subscription.rules.expires_after_s
        if ttl_s is None or self.subscriptions.get(subscription.name) is not subscription:
            return
        if subscription.consumers:
            subscription.used_at = now
        due = subscription.used_at + ttl_s
        if due <= now:
            self.delete_subscription(subscription)
        else:
            subscription.expiry.set(due)

    def create_snapshot(self, config: Any, *, subscription: Subscription, topic: Topic) -> Snapshot:
        """Make a snapshot of a subscription's unacked messages; `config` has its name and times."""
        snapshot = Snapshot(config.name, topic_uid=topic.uid, config=config, unacked=subscription.backlog.messages())
        self.add_snapshot(snapshot, topic)
        if self.journal is not None:
            self.journal.captured(snapshot)
        self.commit()
        return snapshot

    def add_snapshot(self, snapshot: Snapshot, topic: Topic | None) -> None:
        """Take a snapshot in."""
        self.snapshots[snapshot.name] = snapshot
        if topic is not None:
            topic.snapshots[snapshot.name] = None
        self._snapshot_timers[snapshot.name] = self.timers.timer(lambda now: self.delete_snapshot(snapshot))
        self.plan_snapshot(snapshot)

    def plan_snapshot(self, snapshot: Snapshot) -> None:
        """Set the expiry of a snapshot, after any change of its resource."""
        expire = snapshot.config.expire_time
        self._snapshot_timers[snapshot.name].set(expire.seconds + expire.nanos / 1e9)

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """Write a snapshot's resource down, after a change of it."""
        if self.journal is not None:
            self.journal.put("snapshot", snapshot.name, snapshot.topic_uid, snapshot.config.SerializeToString())
        self.commit()

    def delete_snapshot(self, snapshot: Snapshot) -> None:
        """Delete a snapshot and free what it kept."""
        if self.snapshots.pop(snapshot.name, None) is None:
            return
        self._snapshot_timers.pop(snapshot.name).cancel()
        for topic in self.topics.values():
            topic.snapshots.pop(snapshot.name, None)
        if self.journal is not None:
            self.journal.drop("snapshot", snapshot.name)
        self.commit()

    def seek_to_time(self, subscription: Subscription, moment_us: int) -> None:
        """Make unacked what was published at or after a moment and is still kept, and acked what came before."""
        topic = subscription.topic
        if topic is not None:
            topic.forget(self.clock.now())
        self._seek(
            subscription,
            snapshots.after(
                moment_us,
                subscription.backlog.messages(),
                subscription.retained.values(),
                snapshots.passing(subscription.rules, topic.retained()) if topic is not None else (),
            ),
        )

    def seek_to_snapshot(self, subscription: Subscription, snapshot: Snapshot) -> None:
        """Make exactly the messages of a snapshot unacked."""
        self._seek(subscription, list(snapshots.passing(subscription.rules, snapshot.messages())))

    def _seek(self, subscription: Subscription, wanted: list[Message]) -> None:
        ids = {message.id for message in wanted}
        acked = [message for message in subscription.backlog.messages() if message.id not in ids]
        for id in ids:
            subscription.retained.pop(id, None)
        if subscription.rules.retain_acked:
            subscription.retained.update((message.id, message) for message in acked)
        subscription.replace(wanted)
        if self.journal is not None:
            self.journal.replaced(subscription.uid, wanted, subscription.retained.values())
        self.commit()

    def woken(self, subscription: Subscription) -> None:
        """See `SubscriptionHost`."""
        if not self._dirty and self.on_woken is not None:
            self.on_woken()
        self._dirty[subscription] = None

    def forward(self, subscription: Subscription, entry: Entry, reason: str) -> bool:
        """See `SubscriptionHost`."""
        topic = self.topics.get(subscription.rules.dead_letter_topic or "")
        if topic is None:
            return False
        if self.may_forward is not None and not self.may_forward(subscription.name, topic.name):
            _log.warning(
                "a dead letter of %s stays: the Pub/Sub service agent needs roles/pubsub.subscriber on it and "
                "roles/pubsub.publisher on %s",
                subscription.name,
                topic.name,
            )
            return False
        letter = dead_letter.draft(
            entry.message, subscription=subscription.name, deliveries=entry.failures, reason=reason
        )
        try:
            self.publish(topic, [letter])
        except StatusError:  # it can't be written down: the message stays, and fails once more
            return False
        return True

    def left(self, subscription: Subscription, message: Message) -> None:
        """See `SubscriptionHost`."""
        if self.journal is not None:
            if message.id in subscription.retained:
                self.journal.retained(subscription.uid, message)
            else:
                self.journal.left(subscription.uid, message)

    def failed(self, subscription: Subscription, entry: Entry) -> None:
        """See `SubscriptionHost`."""
        if self.journal is not None:
            self.journal.failed(subscription.uid, entry.message, entry.failures)

    def undelivered(self, subscription: Subscription, reason: str) -> None:
        """See `SubscriptionHost`."""
        _log.warning("a message of %s can't be delivered, it is tried again: %s", subscription.name, reason)

    def shuffle(self, subscription: Subscription, batch: list[Entry]) -> list[Entry]:
        """See `SubscriptionHost`."""
        if self.fault_injector is None:
            return batch
        return self.fault_injector.shuffle(subscription, batch, self.clock.now())

    def pump(self) -> None:
        """Deliver to every consumer that waits for something that came since the last call."""
        while self._dirty:
            subscription = next(iter(self._dirty))
            del self._dirty[subscription]
            subscription.dispatch(self.clock.now())

    def commit(self) -> None:
        """Make what happened so far durable, before it is reported."""
        if self.journal is not None:
            self.journal.commit()

    def reset(self) -> None:
        """Empty everything; ids go on."""
        for snapshot in list(self.snapshots.values()):
            self.delete_snapshot(snapshot)
        for subscription in list(self.subscriptions.values()):
            self.delete_subscription(subscription)
        for topic in list(self.topics.values()):
            self.delete_topic(topic)
        self.ingested.clear()
        for callback in self.on_reset:
            callback()
        self.commit()


def timestamp(moment: float) -> Any:
    """Return a protobuf Timestamp of a moment in seconds since the epoch, to the microsecond."""
    seconds, micros = divmod(int(moment * 1_000_000), 1_000_000)
    return protos.Timestamp(seconds=seconds, nanos=micros * 1000)
