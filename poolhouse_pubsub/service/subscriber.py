"""google.pubsub.v1.Subscriber: subscriptions, pulls and acks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from google.rpc import error_details_pb2

from poolhouse_pubsub import limits, names, protos
from poolhouse_pubsub.control.faults import Faults
from poolhouse_pubsub.core.emulator import Emulator
from poolhouse_pubsub.core.encoding import encode
from poolhouse_pubsub.core.leases import Consumer, Entry, Mode
from poolhouse_pubsub.core.subscription import AckResult, Subscription
from poolhouse_pubsub.limits import bad_ack_id
from poolhouse_pubsub.service import masks, paging, subscription_config
from poolhouse_pubsub.service.quota import limit_project, limit_topic
from poolhouse_pubsub.status import Code, StatusError, already_exists, invalid, not_found, precondition

#: How long a Pull waits for a first message, in seconds of real time. The service says "a bounded amount"; clients
#: give a Pull 60 s, so this stays well below.
PULL_WAIT_S = 10.0

#: Most bytes of a Pull's answer (Quotas and limits).
PULL_BYTES = 10_000_000

_ACK_FAILURES = {
    AckResult.STALE: "PERMANENT_FAILURE_INVALID_ACK_ID",
    AckResult.MALFORMED: "PERMANENT_FAILURE_INVALID_ACK_ID",
    AckResult.UNORDERED: "TRANSIENT_FAILURE_UNORDERED_ACK_ID",
    AckResult.DROPPED: "TRANSIENT_FAILURE_OTHER",
}


class Subscriber:
    """The RPCs on subscriptions.

    Args:
        emulator: The state.
        faults: Faults that a test asked for.
    """

    def __init__(self, emulator: Emulator, faults: Faults) -> None:
        self._emulator = emulator
        self._faults = faults

    def find(self, name: str) -> Subscription:
        """Return the subscription of that name.

        Raises:
            StatusError: NOT_FOUND, or INVALID_ARGUMENT for a malformed name.
        """
        subscription = self._emulator.subscriptions.get(name)
        if subscription is None:
            names.check(name, "subscriptions")
            raise not_found(name)
        return subscription

    def find_pullable(self, name: str) -> Subscription:
        """Return the subscription of that name, if messages may be pulled from it.

        Raises:
            StatusError: NOT_FOUND, INVALID_ARGUMENT, or FAILED_PRECONDITION: detached, or delivered elsewhere.
        """
        subscription = self.find(name)
        if subscription.config.detached:
            raise precondition(f"Subscription is detached: {name}.")
        delivery = subscription_config.delivery_of(subscription.config)
        if delivery is not None:
            raise precondition(f"This method is not supported for this subscription type: {name} has a {delivery}.")
        return subscription

    def create_subscription(self, request: Any) -> Any:
        """CreateSubscription."""
        emulator = self._emulator
        names.check(request.topic, "topics")
        if not request.name:
            # Drawn from the seed, so that a run can be repeated.
            project = names.project_of(request.topic)
            request.name = f"projects/{project}/subscriptions/subscription-{emulator.random.getrandbits(64):016x}"
        names.check(request.name, "subscriptions")
        if request.name in emulator.subscriptions:
            raise already_exists(request.name)
        if request.topic not in emulator.topics:
            raise not_found(request.topic)
        request.detached = False
        subscription_config.complete(request, topics=emulator.topics, models=emulator.models)
        rules = subscription_config.rules_of(request, models=emulator.models)
        limit_project(emulator.subscriptions, names.project_of(request.name), limits.SUBSCRIPTIONS, "subscriptions")
        limit_topic(emulator.topics[request.topic].subscriptions, limits.TOPIC_SUBSCRIPTIONS, "subscriptions")
        subscription = emulator.create_subscription(request, rules=rules)
        return subscription_config.shown(subscription.config, subscription.topic)

    def get_subscription(self, request: Any) -> Any:
        """GetSubscription."""
        subscription = self.find(request.subscription)
        self._emulator.used(subscription)
        return subscription_config.shown(subscription.config, subscription.topic)

    def update_subscription(self, request: Any) -> Any:
        """UpdateSubscription."""
        subscription = self.find(request.subscription.name)
        config = protos.Subscription()
        config.CopyFrom(subscription.config)
        masks.apply(config, request.subscription, request.update_mask.paths, mutable=subscription_config.MUTABLE)
        self._complete(config, subscription)
        self._change(subscription, config)
        return subscription_config.shown(subscription.config, subscription.topic)

    def _complete(self, config: Any, subscription: Subscription) -> None:
        emulator = self._emulator
        subscription_config.complete(config, topics=emulator.topics, models=emulator.models, before=subscription.config)

    def _change(self, subscription: Subscription, config: Any) -> None:
        rules = subscription_config.rules_of(config, models=self._emulator.models)
        subscription.config = config
        subscription.change_rules(rules)
        subscription.expiry.cancel()
        self._emulator.used(subscription)
        self._emulator.save_subscription(subscription)

    def list_subscriptions(self, request: Any) -> Any:
        """ListSubscriptions."""
        prefix = names.check_project(request.project) + "/"
        subscriptions = self._emulator.subscriptions
        chosen, token = paging.page(
            (name for name in subscriptions if name.startswith(prefix)),
            size=request.page_size,
            token=request.page_token,
        )
        return protos.ListSubscriptionsResponse(
            subscriptions=[
                subscription_config.shown(subscriptions[name].config, subscriptions[name].topic) for name in chosen
            ],
            next_page_token=token,
        )

    def delete_subscription(self, request: Any) -> Any:
        """DeleteSubscription."""
        self._emulator.delete_subscription(self.find(request.subscription))
        return protos.Empty()

    def modify_push_config(self, request: Any) -> Any:
        """ModifyPushConfig."""
        subscription = self.find(request.subscription)
        config = protos.Subscription()
        config.CopyFrom(subscription.config)
        config.push_config.CopyFrom(request.push_config)
        self._complete(config, subscription)
        self._change(subscription, config)
        return protos.Empty()

    async def pull(self, request: Any) -> bytes:
        """Pull; answers a serialised PullResponse."""
        subscription = self.find_pullable(request.subscription)
        if request.max_messages <= 0:
            raise invalid(f"Invalid max_messages {request.max_messages}: it must be greater than 0.")
        emulator = self._emulator
        emulator.used(subscription)
        waiting: asyncio.Future[tuple[list[Entry], bytes]] = asyncio.get_running_loop().create_future()

        def deliver(batch: list[Entry]) -> None:
            consumer.ready = False
            if waiting.done():
                subscription.give_back(batch)
            else:
                waiting.set_result((batch, encode(subscription, batch)))

        consumer = Consumer(Mode.PULL, token="", deliver=deliver, max_messages=request.max_messages)
        # Calls that already wait come first.
        emulator.pump()
        batch = subscription.take(consumer, now=emulator.clock.now(), cap_bytes=PULL_BYTES)
        if batch:
            return encode(subscription, batch)
        if request.return_immediately:
            return b""
        ended: list[StatusError] = []
        subscription.connect(consumer)
        subscription.on_end[consumer] = lambda: _end(waiting, ended, subscription)
        try:
            async with asyncio.timeout(PULL_WAIT_S):
                return (await waiting)[1]
        except TimeoutError:
            # A message may have come in the very moment that the time was over.
            return waiting.result()[1] if waiting.done() and not waiting.cancelled() else b""
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled():
                subscription.give_back(waiting.result()[0])
            if ended:
                raise ended[0] from None
            raise
        finally:
            subscription.on_end.pop(consumer, None)
            subscription.disconnect(consumer)

    def acknowledge(self, request: Any) -> Any:
        """Acknowledge."""
        subscription = self.find(request.subscription)
        limits.check_ack_ids(request.ack_ids)
        emulator = self._emulator
        emulator.used(subscription)
        ack_ids = unique(request.ack_ids)
        refuse_malformed(subscription, ack_ids)
        results = self.settle(subscription, ack_ids)
        emulator.commit()
        raise_failures(subscription, ack_ids, results)
        return protos.Empty()

    def settle(self, subscription: Subscription, ack_ids: Sequence[str]) -> list[AckResult]:
        """Ack deliveries, unless a test asked for acks to be dropped; one result an id."""
        if self._faults.drops_acks(subscription.name):
            return [AckResult.DROPPED] * len(ack_ids)
        return subscription.acknowledge(ack_ids)

    def modify_ack_deadline(self, request: Any) -> Any:
        """ModifyAckDeadline."""
        subscription = self.find(request.subscription)
        limits.check_ack_ids(request.ack_ids)
        limits.within(request.ack_deadline_seconds, limits.MODIFY_DEADLINE_S, "ack_deadline_seconds")
        emulator = self._emulator
        emulator.used(subscription)
        ack_ids = unique(request.ack_ids)
        refuse_malformed(subscription, ack_ids)
        now, seconds = emulator.clock.now(), request.ack_deadline_seconds
        results = [subscription.modify_deadline(ack_id, seconds=seconds, now=now) for ack_id in ack_ids]
        emulator.commit()
        raise_failures(subscription, ack_ids, results)
        return protos.Empty()


def _end(waiting: asyncio.Future[Any], ended: list[StatusError], subscription: Subscription) -> None:
    """End a waiting Pull whose subscription was deleted or detached."""
    if waiting.done():
        return
    ended.append(
        precondition(f"Subscription is detached: {subscription.name}.")
        if subscription.config.detached
        else not_found(subscription.name)
    )
    waiting.cancel()


def unique(ack_ids: Iterable[str]) -> list[str]:
    """Each id once: one that a request repeats succeeds or fails once."""
    return list(dict.fromkeys(ack_ids))


def refuse_malformed(subscription: Subscription, ack_ids: Sequence[str]) -> None:
    """Refuse a whole request for an id that is none of the subscription's, unless ids fail one by one (exactly-once).

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    if not subscription.rules.exactly_once:
        for ack_id in ack_ids:
            if not subscription.knows(ack_id):
                raise bad_ack_id(ack_id)


def raise_failures(subscription: Subscription, ack_ids: Sequence[str], results: Sequence[AckResult]) -> None:
    """With exactly-once, raise an error that names the ids that failed (Exactly-once delivery).

    Without it failed ids are no error.

    Raises:
        StatusError: INVALID_ARGUMENT with an ErrorInfo; the ids that are not in it succeeded.
    """
    if not subscription.rules.exactly_once:
        return
    failures = {
        ack_id: _ACK_FAILURES[result]
        for ack_id, result in zip(ack_ids, results, strict=True)
        if result is not AckResult.DONE
    }
    if failures:
        raise StatusError(
            Code.INVALID_ARGUMENT,
            "Some acknowledgement ids in the request were invalid. This could be because the acknowledgement ids have "
            "expired or the acknowledgement ids were malformed.",
            details=[
                error_details_pb2.ErrorInfo(
                    reason="EXACTLY_ONCE_ACKID_FAILURE", domain="pubsub.googleapis.com", metadata=failures
                )
            ],
        )
