"""One subscription's delivery: leases, redelivery, dead letters, retention. It reads no clock: `now` is an argument."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from functools import cached_property
from typing import Any, Protocol

from poolhouse_pubsub.core.backlog import Backlog
from poolhouse_pubsub.core.clock import Clock
from poolhouse_pubsub.core.leases import Consumer, Entry, Leases, Mode, State
from poolhouse_pubsub.core.message import Message
from poolhouse_pubsub.core.rules import Backoff, MessageTransforms, Rules
from poolhouse_pubsub.core.timers import NEVER, Timer, TimerQueue
from poolhouse_pubsub.core.topic import Topic
from poolhouse_pubsub.core.unordered import Budget
from poolhouse_pubsub.transforms.errors import TransformError

#: Size of one response that is not exceeded by adding a message: below the 4 MiB that a gRPC client takes by default.
RESPONSE_BYTES = 3_500_000
#: Most messages in one response (Quotas and limits: 1,000 for Pull).
RESPONSE_MESSAGES = 1_000
#: Waits of a message that can't be transformed or exported, where no retry policy says otherwise: those of a push.
_ERROR_BACKOFF = Backoff(min_s=0.1, max_s=60.0)
#: The least wait there is with one.
_ERROR_PAUSE = Backoff(min_s=0.1, max_s=0.1)


class AckResult(Enum):
    """What became of one ack id."""

    DONE = "done"
    #: Used, expired or of an earlier delivery.
    STALE = "stale"
    #: Exactly-once and ordered: an earlier message of the key is not acked yet.
    UNORDERED = "unordered"
    #: Not an id of this subscription.
    MALFORMED = "malformed"
    #: An injected fault let it get lost.
    DROPPED = "dropped"


class SubscriptionHost(Protocol):
    """What a subscription needs of the emulator that holds it."""

    #: Its time.
    clock: Clock
    #: Where the next due time of a subscription is kept.
    timers: TimerQueue
    #: Number of this start; see `Leases`.
    boot: int

    def woken(self, subscription: Subscription) -> None:
        """Schedule a dispatch: there may be something to deliver to a waiting consumer."""

    def forward(self, subscription: Subscription, entry: Entry, reason: str) -> bool:
        """Publish a message that failed too often to the dead-letter topic; False when that can't be had."""

    def left(self, subscription: Subscription, message: Message) -> None:
        """Note that a message left the backlog for good."""

    def failed(self, subscription: Subscription, entry: Entry) -> None:
        """Note a failed delivery (nack or expiry)."""

    def undelivered(self, subscription: Subscription, reason: str) -> None:
        """Report a message that can't be transformed or exported, once per series of failures."""

    def shuffle(self, subscription: Subscription, batch: list[Entry]) -> list[Entry]:
        """Let injected faults change a batch before it is delivered."""

    def expire(self, subscription: Subscription, now: float) -> None:
        """Delete a subscription that was not used for its time to live."""


class Subscription:
    """One subscription: its resource, and the state machine of its delivery.

    Args:
        name: Full resource name.
        topic: Its topic.
        config: Its `google.pubsub.v1.Subscription`, as Get answers it.
        uid: Its identity, in the ack ids.
        rules: Its delivery rules.
        host: The emulator that holds it.
    """

    def __init__(
        self, name: str, *, topic: Topic | None, config: Any, uid: str, rules: Rules, host: SubscriptionHost
    ) -> None:
        self.name = name
        #: None once the topic was deleted or the subscription detached.
        self.topic = topic
        self.config = config
        self.uid = uid
        self.rules = rules
        self._host = host
        self.expiry: Timer = host.timers.timer(lambda now: host.expire(self, now))
        self.used_at = host.clock.now()
        #: Called with no argument when the subscription is deleted or detached: open streams end.
        self.on_end: dict[object, Callable[[], None]] = {}
        #: Called with no argument when its properties change.
        self.on_change: dict[object, Callable[[], None]] = {}
        #: A list: an empty deque takes 760 bytes, and most subscriptions have few consumers or none.
        self._consumers: list[Consumer] = []
        #: Acked messages that are kept for a seek.
        self.retained: dict[int, Message] = {}
        self._sweep_at = NEVER
        self._swept_at = 0.0
        self._timer = host.timers.timer(self._run_due)
        #: Messages that left by an ack or for the dead-letter topic, and those of them that were dead-lettered.
        self.finished_count = 0
        self.dead_lettered_count = 0
        #: What transforms made of the messages of the latest batch, by message id.
        self._transformed: dict[int, Message] = {}
        #: Why a message could not be transformed or exported last, "" when the latest one could.
        self.delivery_error = ""

    # What an idle subscription would hold in vain is made when it is first needed: 100,000 of them may lie idle.

    @cached_property
    def backlog(self) -> Backlog:
        """The unacked messages; only the subscription changes it once it is in use."""
        return Backlog()

    @cached_property
    def _leases(self) -> Leases:
        return Leases(uid=self.uid, boot=self._host.boot)

    def add(self, messages: Sequence[Message]) -> None:
        """Take published messages (already filtered) into the backlog."""
        self.backlog.add(messages, ordered=self.rules.ordered)
        if self._sweep_at == NEVER:
            self._plan_sweep()
        if self._consumers:
            self._host.woken(self)

    def connect(self, consumer: Consumer) -> None:
        """Add a consumer; it gets messages from the next dispatch on."""
        self._consumers.append(consumer)
        if consumer.mode is Mode.STREAM:
            consumer.token = self.backlog.lines.connect(consumer.token)
        self._host.woken(self)

    def disconnect(self, consumer: Consumer) -> None:
        """Remove a consumer. What it holds stays leased until its deadline."""
        if consumer in self._consumers:
            self._consumers.remove(consumer)
            if consumer.mode is Mode.STREAM:
                self.backlog.lines.disconnect(consumer.token)
                self._host.woken(self)

    @property
    def consumers(self) -> int:
        """How many are connected."""
        return len(self._consumers)

    def dispatch(self, now: float) -> None:
        """Hand what is ready to the consumers that have room, in turn and in fair shares."""
        while self._consumers and self.backlog:
            takers = [consumer for consumer in self._consumers if consumer.has_room]
            if not takers:
                return
            share = -(-self.backlog.waiting // len(takers))
            served = False
            for consumer in takers:
                if consumer.has_room:
                    batch = self.take(consumer, now=now, limit=max(1, share))
                    if batch:
                        served = True
                        # Round robin: the consumer just served goes to the end.
                        self._consumers.remove(consumer)
                        self._consumers.append(consumer)
                        consumer.deliver(batch)
            if not served:
                return

    def take(
        self, consumer: Consumer, *, now: float, limit: int = RESPONSE_MESSAGES, cap_bytes: int = RESPONSE_BYTES
    ) -> list[Entry]:
        """Lease ready messages to a consumer.

        Args:
            consumer: Who gets them; its own limits hold too.
            now: The present moment.
            limit: Most messages.
            cap_bytes: Most bytes, unless the first message alone is larger.
        """
        if self.rules.transforms is None:
            return self._take(consumer, now=now, limit=limit, cap_bytes=cap_bytes)
        self._transformed.clear()
        while taken := self._take(consumer, now=now, limit=limit, cap_bytes=cap_bytes):
            # All may have been filtered out or failed: there may be more behind them.
            if batch := self._transform(taken, self.rules.transforms, now):
                return batch
        return []

    def _take(self, consumer: Consumer, *, now: float, limit: int, cap_bytes: int) -> list[Entry]:
        count = min(limit, RESPONSE_MESSAGES)
        if consumer.max_messages > 0:
            count = min(count, consumer.max_messages - consumer.held_messages)
        room = consumer.max_bytes - consumer.held_bytes if consumer.max_bytes > 0 else 1 << 62
        budget = Budget(messages=count, room_bytes=room, cap_bytes=cap_bytes)
        taken = self.backlog.take(consumer, budget)
        if not taken:
            return taken
        taken = self._host.shuffle(self, taken)
        deadline = now + (consumer.ack_deadline_s or self.rules.ack_deadline_s)
        grant, delivered = self._leases.grant, self.backlog.delivered
        for entry in taken:
            grant(entry, consumer=consumer, deadline=deadline)
            if entry.line is None and not entry.copy:
                delivered[entry.message.id] = entry
        self._timer.at_most(deadline)
        return taken

    def _transform(self, taken: Sequence[Entry], transforms: MessageTransforms, now: float) -> list[Entry]:
        """Transform leased messages: one that is filtered out is acked, one that fails is nacked.

        Source: Single Message Transforms (SMTs) overview.
        """
        batch = []
        for entry in taken:
            if entry.state is not State.LEASED:
                continue  # an earlier message of its key failed, so it comes again after that one
            draft = entry.message.parse()
            try:
                goes_on = transforms.apply(draft, published=True)
            except TransformError as error:
                self._leases.end(entry, forget=True)
                self._fail(entry, now, reason=str(error))
                continue
            self.delivery_error = ""
            if goes_on:
                message = entry.message
                self._transformed[message.id] = Message(
                    message.id, message.published_us, message.key, draft.SerializeToString()
                )
                batch.append(entry)
            else:
                self._leases.end(entry, forget=True)
                self._settle(entry)
        return [entry for entry in batch if entry.state is State.LEASED]

    def outgoing(self, entry: Entry) -> Message:
        """Return what a consumer gets of an entry that was just taken: its message, or what transforms made of it."""
        return self._transformed.get(entry.message.id, entry.message)

    def give_back(self, entries: Iterable[Entry]) -> None:
        """Undo a delivery that never left the server; it does not count as an attempt."""
        for entry in entries:
            if entry.state is State.LEASED:
                self._leases.end(entry, forget=True)
                self._again(entry, until=0.0)
        self._host.woken(self)

    def put_off(self, entry: Entry, *, until: float) -> None:
        """Make an entry without a line that was taken but not leased wait; for injected delays."""
        self.backlog.delivered.setdefault(entry.message.id, entry)
        self._again(entry, until=until)
        self._host.woken(self)

    def add_copy(self, message: Message) -> None:
        """Make a message ready a second time; for injected duplicates."""
        self.backlog.lane.put_back(Entry(message, copy=True))

    def knows(self, ack_id: str) -> bool:
        """Whether an ack id is one of this subscription's, still valid or not."""
        return self._leases.find(ack_id) is not None or self._leases.is_own(ack_id)

    def acknowledge(self, ack_ids: Sequence[str]) -> list[AckResult]:
        """Ack deliveries; ids that no longer count do nothing.

        Returns:
            One result an id, in their order.
        """
        if self.rules.ordered and self.rules.exactly_once and len(ack_ids) > 1:
            # Within one request the order of the ids says nothing: the earliest message first.
            places = sorted(range(len(ack_ids)), key=lambda place: self._age(ack_ids[place]))
            results = [AckResult.STALE] * len(ack_ids)
            for place in places:
                results[place] = self._acknowledge(ack_ids[place])
        else:
            results = [self._acknowledge(ack_id) for ack_id in ack_ids]
        self._host.woken(self)
        return results

    def _age(self, ack_id: str) -> int:
        entry = self._leases.find(ack_id)
        return entry.message.id if entry is not None else 0

    def _acknowledge(self, ack_id: str) -> AckResult:
        entry = self._leases.find(ack_id)
        if entry is None:
            return AckResult.STALE if self._leases.is_own(ack_id) else AckResult.MALFORMED
        if entry.line is not None and self.rules.exactly_once and not self.backlog.lines.in_turn(entry):
            return AckResult.UNORDERED
        self._leases.end(entry, forget=True)
        if entry.line is None and entry.state is not State.LEASED:
            # The lease is over, but the message was not delivered again: the late ack succeeds, as the service allows.
            self.backlog.unlist(entry)
        self._settle(entry)
        return AckResult.DONE

    def modify_deadline(self, ack_id: str, *, seconds: float, now: float) -> AckResult:
        """Move the end of a lease to `seconds` from now; 0 is a nack."""
        entry = self._leases.find(ack_id)
        if entry is None or entry.state is not State.LEASED:
            if entry is None and not self._leases.is_own(ack_id):
                return AckResult.MALFORMED
            return AckResult.STALE
        if seconds <= 0:
            self._leases.end(entry, forget=True)
            self._fail(entry, now)
            self._host.woken(self)
        else:
            self._leases.extend(entry, now + seconds)
            self._timer.at_most(now + seconds)
        return AckResult.DONE

    def refuse(self, entry: Entry, *, reason: str, now: float) -> None:
        """Fail a delivery for a reason that lies in the message: a nack that is never without a pause."""
        if entry.state is State.LEASED:
            self._leases.end(entry, forget=True)
            self._fail(entry, now, reason=reason)
            self._host.woken(self)

    def _fail(self, entry: Entry, now: float, *, reason: str = "") -> None:
        """Return a failed delivery, whose lease has ended, to the backlog or dead-letter it.

        Args:
            entry: What was to be delivered.
            now: The present moment.
            reason: Why it could not be transformed or exported, "" for a failure of the consumer.
        """
        if entry.copy:
            self._finish(entry)
            return
        entry.failures += 1
        if reason:
            if not self.delivery_error:
                self._host.undelivered(self, reason)
            self.delivery_error = reason
        self._host.failed(self, entry)
        rules = self.rules
        if (
            rules.dead_letter_topic is not None
            and entry.failures >= rules.max_attempts
            and self._host.forward(self, entry, reason)
        ):
            self.dead_lettered_count += 1
            self._settle(entry)
            return
        wait_s = rules.backoff.wait_s(entry.failures) if rules.backoff is not None else 0.0
        if reason:
            # It would fail again at once: never without a pause.
            wait_s = max(wait_s, (_ERROR_PAUSE if rules.backoff else _ERROR_BACKOFF).wait_s(entry.failures))
        self._again(entry, until=now + wait_s if wait_s > 0 else 0.0)

    def _again(self, entry: Entry, *, until: float) -> None:
        """Make an entry ready again, at once (0) or at a moment."""
        for back in self.backlog.put_back(entry, until=until):
            if back.state is State.LEASED:
                self._leases.end(back, forget=True)
            back.state = State.READY
        if until:
            self._timer.at_most(until)

    def _settle(self, entry: Entry) -> None:
        """Finish an entry whose lease was ended, and what waited in its line for that."""
        if entry.line is None:
            self._finish(entry)
            return
        for finished in self.backlog.lines.settle(entry):
            self._finish(finished)

    def _finish(self, entry: Entry) -> None:
        """Count out an entry that is done for good."""
        entry.state = State.DONE
        self._leases.forget(entry)
        if entry.copy:
            return
        message = entry.message
        self.backlog.delivered.pop(message.id, None)
        self.finished_count += 1
        if self.rules.retain_acked:
            self.retained[message.id] = message
        self._host.left(self, message)

    def _run_due(self, now: float) -> None:
        while (entry := self._leases.pop_expired(now)) is not None:
            # With exactly-once an expired id is dead at once; otherwise it counts until the next delivery.
            self._leases.end(entry, forget=self.rules.exactly_once or entry.line is not None)
            self._fail(entry, now)
        self.backlog.end_delays(now)
        if self._sweep_at <= now:
            self._sweep(now)
        self._set_timer()
        self._host.woken(self)

    def _set_timer(self) -> None:
        self._timer.set(min(self._leases.next_due, self.backlog.next_due, self._sweep_at))

    def _plan_sweep(self) -> None:
        times = [message.published_us for message in self.retained.values()]
        unacked = self.backlog.oldest_us()
        if unacked is not None:
            times.append(unacked)
        if not times:
            self._sweep_at = NEVER
            return
        # Messages published within a six-hundredth of the retention go together: a sweep looks at every entry.
        self._sweep_at = max(min(times) / 1e6 + self.rules.retention_s, self._swept_at + self.rules.retention_s / 600)
        self._timer.at_most(self._sweep_at)

    def _sweep(self, now: float) -> None:
        """Drop what is older than the retention."""
        self._swept_at = now
        before_us = round((now - self.rules.retention_s) * 1e6) + 1
        messages, entries = self.backlog.drop_before(before_us)
        for message in messages:
            self._host.left(self, message)
        for entry in entries:
            if entry.state is State.ACKED:  # it waited only for one that is gone now
                self._finish(entry)
            else:
                self._drop(entry)
        self._let_go([message for message in self.retained.values() if message.published_us < before_us])
        self._plan_sweep()

    def _let_go(self, messages: Iterable[Message]) -> None:
        """Retain acked messages no longer."""
        for message in messages:
            del self.retained[message.id]
            self._host.left(self, message)

    def _drop(self, entry: Entry) -> None:
        if entry.state is State.LEASED:
            self._leases.end(entry, forget=True)
        elif entry.line is None:
            self.backlog.unlist(entry)
        entry.state = State.DONE
        self._leases.forget(entry)
        self.backlog.delivered.pop(entry.message.id, None)
        self._host.left(self, entry.message)

    def change_rules(self, rules: Rules) -> None:
        """Take new rules; a changed dead-letter policy starts the counts anew (Handle message failures)."""
        before = self.rules
        self.rules = rules
        if (before.dead_letter_topic, before.max_attempts) != (rules.dead_letter_topic, rules.max_attempts):
            for entry in self.backlog:
                entry.failures = 0
        if before.retain_acked and not rules.retain_acked:
            self._let_go(list(self.retained.values()))
        if before.retention_s != rules.retention_s:
            self._swept_at = 0.0
            self._plan_sweep()
            self._set_timer()
        self._host.woken(self)

    def replace(self, messages: Iterable[Message]) -> None:
        """Make exactly these messages (in publish order) the unacked ones; no lease so far counts any more."""
        self._leases.clear()
        self.backlog.clear()
        self.add(list(messages))
        self._plan_sweep()
        self._set_timer()

    def close(self) -> None:
        """End its timers and leases; it is deleted or detached."""
        self.retained.clear()
        self.replace(())

    @property
    def outstanding(self) -> int:
        """Messages that are leased."""
        return self._leases.leased
