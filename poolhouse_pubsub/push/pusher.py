"""Push delivery, driven by the core: a push loop is one more consumer of its subscription."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field

from poolhouse_pubsub.core.emulator import Emulator
from poolhouse_pubsub.core.leases import Consumer, Entry, Mode
from poolhouse_pubsub.core.loops import Loops
from poolhouse_pubsub.core.message import Message
from poolhouse_pubsub.core.subscription import Subscription
from poolhouse_pubsub.core.timers import NEVER
from poolhouse_pubsub.oidc import Oidc
from poolhouse_pubsub.push.http_client import HttpClient, PushError
from poolhouse_pubsub.push.request import ACK_STATUSES, build
from poolhouse_pubsub.push.window import Window

_log = logging.getLogger(__name__)

#: How much earlier than its lease a push that hangs is given up, in seconds: the failure is then the push's, with its
#: backoff, and not a silent expiry.
_EARLY_S = 0.001


class Pusher:
    """All push loops of one emulator.

    Args:
        emulator: The state.
        oidc: Makes the tokens that a subscription may ask for.
    """

    def __init__(self, emulator: Emulator, oidc: Oidc) -> None:
        self._emulator = emulator
        self._oidc = oidc
        self._client = HttpClient()
        self._loops: Loops[_PushLoop] = Loops()

    def follow(self, subscription: Subscription) -> None:
        """Start, or end, pushing for a subscription that was made or changed."""
        config = subscription.config
        wanted = bool(config.push_config.push_endpoint) and not config.detached
        running = self._loops.get(subscription)
        if wanted and running is None:
            loop = _PushLoop(subscription, emulator=self._emulator, client=self._client, oidc=self._oidc)
            self._loops.start(subscription, loop)
        elif not wanted and running is not None:
            self._loops.end(subscription)

    def stop(self) -> None:
        """End all pushing; requests that are under way are given up."""
        self._loops.stop()
        self._client.close()


@dataclass(slots=True, eq=False)
class _Delivery:
    """One request under way."""

    message: Message
    ack_id: str
    attempt: int
    round: int
    give_up_at: float
    task: asyncio.Task[None] | None = field(default=None, repr=False)


class _PushLoop:
    def __init__(self, subscription: Subscription, *, emulator: Emulator, client: HttpClient, oidc: Oidc) -> None:
        self._subscription = subscription
        self._emulator = emulator
        self._client = client
        self._oidc = oidc
        self._window = Window()
        self._under_way: set[_Delivery] = set()
        self._pause = emulator.timers.timer(self._resume)
        # On the emulator's clock, so that a test that moves the time sees a push that hangs time out.
        self._patience = emulator.timers.timer(self._give_up)
        self._consumer = Consumer(
            Mode.PUSH,
            token="push",  # noqa: S106 - not a secret
            deliver=self._deliver,
            max_messages=self._window.size,
        )

    def start(self) -> None:
        self._subscription.connect(self._consumer)

    def stop(self) -> None:
        self._pause.cancel()
        self._patience.cancel()
        self._subscription.disconnect(self._consumer)
        for delivery in list(self._under_way):
            self._forget(delivery)

    def _deliver(self, batch: list[Entry]) -> None:
        loop = asyncio.get_running_loop()
        counts = self._subscription.rules.dead_letter_topic is not None
        for entry in batch:
            delivery = _Delivery(
                message=self._subscription.outgoing(entry),
                ack_id=entry.ack_id,
                attempt=entry.attempt if counts else 0,
                round=self._window.round,
                give_up_at=entry.deadline - _EARLY_S,
            )
            self._patience.at_most(delivery.give_up_at)
            delivery.task = loop.create_task(self._send(delivery))
            self._under_way.add(delivery)

    async def _send(self, delivery: _Delivery) -> None:
        subscription = self._subscription
        push = subscription.config.push_config
        token = None
        if push.oidc_token.service_account_email:
            try:
                token = await self._oidc.token(
                    email=push.oidc_token.service_account_email,
                    audience=push.oidc_token.audience or push.push_endpoint,
                )
            except ImportError as error:
                self._failed(delivery, f"a token needs the package {error.name}: pip install 'poolhouse-pubsub[oidc]'")
                return
        request = build(
            delivery.message, subscription=subscription.name, push=push, attempt=delivery.attempt, token=token
        )
        try:
            status = await self._client.post(push.push_endpoint, headers=request.headers, body=request.body)
        except PushError as error:
            self._failed(delivery, str(error))
            return
        if status in ACK_STATUSES:
            self._acked(delivery)
        else:
            self._failed(delivery, f"status {status}")

    def _acked(self, delivery: _Delivery) -> None:
        self._forget(delivery)
        self._window.succeeded()
        self._consumer.max_messages = self._window.size
        self._subscription.acknowledge([delivery.ack_id])
        self._emulator.commit()

    def _failed(self, delivery: _Delivery, reason: str) -> None:
        self._forget(delivery)
        subscription, window = self._subscription, self._window
        now = self._emulator.clock.now()
        pause_s = window.failed(delivery.round)
        if window.failures == 1 and pause_s:
            endpoint = subscription.config.push_config.push_endpoint
            _log.warning("push of %s to %s failed, it is tried again: %s", subscription.name, endpoint, reason)
        self._consumer.max_messages = window.size
        # With a retry policy each message waits for itself, and the others go on (Handle message failures).
        if pause_s and subscription.rules.backoff is None:
            self._consumer.ready = False
            self._pause.set(now + pause_s)
        subscription.modify_deadline(delivery.ack_id, seconds=0, now=now)
        self._emulator.commit()

    def _give_up(self, now: float) -> None:
        for delivery in [delivery for delivery in self._under_way if delivery.give_up_at <= now]:
            self._failed(delivery, "no answer within the ack deadline")
        self._patience.set(min((delivery.give_up_at for delivery in self._under_way), default=NEVER))

    def _forget(self, delivery: _Delivery) -> None:
        """End a request, which may be the caller's own task: that one is at its end anyway."""
        self._under_way.discard(delivery)
        task = delivery.task
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    def _resume(self, _now: float) -> None:
        self._consumer.ready = True
        self._emulator.woken(self._subscription)
