"""What is in a subscription, seen without disturbing it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Literal

from poolhouse_pubsub.core.emulator import Emulator
from poolhouse_pubsub.core.leases import Entry, State
from poolhouse_pubsub.core.message import Message
from poolhouse_pubsub.core.subscription import Subscription
from poolhouse_pubsub.status import not_found

#: Where an unacked message stands, see `MessageView.state`.
MessageState = Literal["ready", "outstanding", "delayed", "acked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageView:
    """One unacked message."""

    #: Its id.
    message_id: str
    #: Seconds since the epoch.
    publish_time: float
    #: "" for none.
    ordering_key: str
    #: Its attributes.
    attributes: dict[str, str]
    #: Its data.
    data: bytes
    #: `ready` to be delivered; `outstanding` with a consumer; `delayed` by a backoff, or behind a message of its
    #: ordering key that is; `acked` before its turn.
    state: MessageState
    #: Number of the present delivery, or of the next one when it is not outstanding.
    delivery_attempt: int
    #: Of the present delivery, "" without one.
    ack_id: str
    #: End of its lease, seconds since the epoch; None without one.
    ack_deadline: float | None
    #: When it can be delivered next, seconds since the epoch: its lease's end while outstanding.
    next_delivery_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionView:
    """The backlog of one subscription."""

    #: Full name.
    subscription: str
    #: Full name of its topic, or `_deleted-topic_`.
    topic: str
    #: Messages that could be delivered now.
    undelivered: int
    #: Messages with a consumer.
    outstanding: int
    #: Messages that wait for a backoff.
    delayed: int
    #: All of them: what Cloud Monitoring calls num_undelivered_messages.
    unacked: int
    #: Acked messages that are kept for a seek.
    retained: int
    #: Age of the oldest unacked message in seconds, 0 without one.
    oldest_unacked_age_s: float
    #: Open streams, waiting pulls and push loops.
    consumers: int
    #: Messages that were acked or dead-lettered since the start.
    finished: int
    #: Those that were dead-lettered.
    dead_lettered: int
    #: Why a message could not be transformed or exported last, "" when the latest one could.
    delivery_error: str = ""
    #: Unacked messages in publish order, as many as were asked for.
    messages: tuple[MessageView, ...] = ()

    def counts(self) -> dict[str, Any]:
        """Return the view without its messages, ready for JSON."""
        result = asdict(self)
        del result["messages"]
        return result


def inspect(
    emulator: Emulator, name: str, *, messages: int | None = None, state: MessageState | None = None
) -> SubscriptionView:
    """Look at a subscription.

    Args:
        emulator: The state.
        name: Full name of the subscription.
        messages: Most messages in the view; None for all.
        state: Only messages in this state are in the view; None for all.

    Raises:
        StatusError: NOT_FOUND.
    """
    subscription = emulator.subscriptions.get(name)
    if subscription is None:
        raise not_found(name)
    now = emulator.clock.now()
    backlog = subscription.backlog
    oldest = backlog.oldest_us()
    undelivered, delayed = backlog.ready, backlog.delayed
    settled = sum(entry.state is State.ACKED for entry in backlog)
    return SubscriptionView(
        subscription=name,
        topic=subscription.config.topic,
        undelivered=undelivered,
        outstanding=subscription.outstanding,
        delayed=delayed,
        unacked=undelivered + subscription.outstanding + delayed + settled,
        retained=len(subscription.retained),
        oldest_unacked_age_s=max(0.0, now - oldest / 1e6) if oldest is not None else 0.0,
        consumers=subscription.consumers,
        finished=subscription.finished_count,
        dead_lettered=subscription.dead_lettered_count,
        delivery_error=subscription.delivery_error,
        messages=_messages(subscription, now, messages, state) if messages != 0 else (),
    )


def find(emulator: Emulator, name: str, message_id: int) -> MessageView | None:
    """Look at one unacked message of a subscription; None where it is not there any more.

    Raises:
        StatusError: NOT_FOUND, of the subscription.
    """
    subscription = emulator.subscriptions.get(name)
    if subscription is None:
        raise not_found(name)
    now = emulator.clock.now()
    for entry in subscription.backlog:
        if entry.message.id == message_id:
            return _view(entry.message, entry, now)
    fresh = (message for message in subscription.backlog.fresh() if message.id == message_id)
    return next((_view(message, None, now) for message in fresh), None)


def _messages(
    subscription: Subscription, now: float, limit: int | None, state: MessageState | None
) -> tuple[MessageView, ...]:
    found: list[tuple[Message, Entry | None]] = [
        (entry.message, entry) for entry in subscription.backlog if state is None or _state_of(entry, now) == state
    ]
    if state in (None, "ready"):
        # Those never delivered are in publish order already, so the first ones are enough.
        found += [(message, None) for message in islice(subscription.backlog.fresh(), limit)]
    found.sort(key=lambda pair: pair[0].id)
    return tuple(_view(message, entry, now) for message, entry in found[:limit])


def _view(message: Message, entry: Entry | None, now: float) -> MessageView:
    parsed = message.parse()
    state: MessageState = "ready"
    due = now
    leased = False
    if entry is not None:
        leased = entry.state is State.LEASED
        due = entry.deadline if leased else entry.ready_at(now)
        state = _state_of(entry, now)
    return MessageView(
        message_id=str(message.id),
        publish_time=message.published_at,
        ordering_key=message.key,
        attributes=dict(parsed.attributes),
        data=parsed.data,
        state=state,
        delivery_attempt=entry.attempt if entry is not None else 1,
        ack_id=entry.ack_id if entry is not None and leased else "",
        ack_deadline=entry.deadline if entry is not None and leased else None,
        next_delivery_at=due,
    )


def _state_of(entry: Entry, now: float) -> MessageState:
    if entry.state is State.LEASED:
        return "outstanding"
    if entry.state is State.ACKED:
        return "acked"
    return "delayed" if entry.ready_at(now) > now else "ready"
