"""One StreamingPull: flow control, acks on the stream, keep-alives, and how it ends (StreamingPullRequest)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf.message import DecodeError

from poolhouse_pubsub import limits, protos
from poolhouse_pubsub.core.emulator import Emulator
from poolhouse_pubsub.core.encoding import encode
from poolhouse_pubsub.core.leases import Consumer, Entry, Mode
from poolhouse_pubsub.core.subscription import AckResult, Subscription
from poolhouse_pubsub.limits import bad_ack_id
from poolhouse_pubsub.service import Service
from poolhouse_pubsub.service.subscriber import unique
from poolhouse_pubsub.service.subscription_config import delivery_of
from poolhouse_pubsub.status import StatusError, invalid, not_found, precondition

#: Responses that wait to be written: one on its way, one ready behind it.
_OUTBOX = 2

#: Fields that only the first request of a stream may set.
_FIRST_ONLY = ("subscription", "max_outstanding_messages", "max_outstanding_bytes", "protocol_version")


class StreamingPull:
    """One open stream.

    Args:
        service: The RPCs.
        write: Sends one serialised StreamingPullResponse.
        caller: E-mail address of who opens it; looked at where IAM is enforced.
    """

    def __init__(self, service: Service, write: Callable[[bytes], Awaitable[None]], *, caller: str = "") -> None:
        self._caller = caller
        self._service = service
        self._emulator: Emulator = service.emulator
        self._write = write
        self._outbox: deque[tuple[bytes, list[Entry]]] = deque()
        self._wake = asyncio.Event()
        self._error: StatusError | None = None
        self._ended = False
        self._subscription: Subscription | None = None
        self._consumer: Consumer | None = None
        self._properties = b""
        self._answers_keepalives = False

    async def run(self, read: Callable[[], Awaitable[bytes | None]]) -> None:
        """Serve the stream until the client half-closes it.

        Args:
            read: The next serialised StreamingPullRequest, None at the half-close.

        Raises:
            StatusError: What the stream ends with.
        """
        raw = await read()
        if raw is None:
            return
        first = _parse(raw)
        if self._service.gate is not None:
            self._service.gate.before("StreamingPull", first, caller=self._caller)
        if self._service.faults.active:
            await self._service.faults.before("StreamingPull", subscription=first.subscription)
        self._open(first)
        reader = asyncio.ensure_future(self._read(read))
        try:
            await self._write_all()
        finally:
            self._close()
            reader.cancel()
            # A reader that ended with an error has put it where `_write_all` raised it from.
            await asyncio.wait([reader])

    def _open(self, request: Any) -> None:
        subscription = self._service.subscriber.find_pullable(request.subscription)
        deadline_s = request.stream_ack_deadline_seconds
        limits.within(deadline_s, limits.ACK_DEADLINE_S, "stream_ack_deadline_seconds")
        self._subscription = subscription
        self._consumer = Consumer(
            Mode.STREAM,
            token=request.client_id or f"stream-{id(self)}",
            deliver=self._deliver,
            max_messages=max(0, request.max_outstanding_messages),
            max_bytes=max(0, request.max_outstanding_bytes),
            ack_deadline_s=deadline_s,
        )
        self._answers_keepalives = request.protocol_version >= 1
        self._changed()
        self._handle(subscription, request)
        self._emulator.used(subscription)
        subscription.on_end[self] = self._subscription_ended
        subscription.on_change[self] = self._changed
        subscription.connect(self._consumer)

    def _close(self) -> None:
        subscription, consumer = self._subscription, self._consumer
        assert subscription is not None
        assert consumer is not None
        consumer.ready = False
        subscription.on_end.pop(self, None)
        subscription.on_change.pop(self, None)
        subscription.disconnect(consumer)
        for _, batch in self._outbox:
            subscription.give_back(batch)
        self._outbox.clear()
        self._emulator.used(subscription)

    def end(self, error: StatusError | None) -> None:
        """End the stream soon, with an error or (None) well."""
        if not self._ended:
            self._ended = True
            self._error = error
            self._wake.set()

    def _subscription_ended(self) -> None:
        assert self._subscription is not None
        name = self._subscription.name
        detached = self._subscription.config.detached
        self.end(precondition(f"Subscription is detached: {name}.") if detached else not_found(name))

    def _changed(self) -> None:
        assert self._subscription is not None
        config = self._subscription.config
        delivery = delivery_of(config)
        if delivery is not None:
            self.end(precondition(f"Subscription {self._subscription.name} has got a {delivery}: it can't be pulled."))
        response = protos.StreamingPullResponse()
        response.subscription_properties.exactly_once_delivery_enabled = config.enable_exactly_once_delivery
        response.subscription_properties.message_ordering_enabled = config.enable_message_ordering
        self._properties = response.SerializeToString()

    def _deliver(self, batch: list[Entry]) -> None:
        assert self._subscription is not None
        response = encode(self._subscription, batch) + self._properties
        gate = self._service.gate
        if gate is not None:
            error = gate.refusal(self._subscription.name)
            if error is not None:
                self.end(error)  # what it would have got goes back to the subscription
            else:
                gate.delivered(self._subscription.name, len(response))
        self._send(response, batch)

    def _send(self, response: bytes, batch: list[Entry]) -> None:
        assert self._consumer is not None
        self._outbox.append((response, batch))
        if len(self._outbox) >= _OUTBOX:
            self._consumer.ready = False
        self._wake.set()

    async def _write_all(self) -> None:
        subscription, consumer, faults = self._subscription, self._consumer, self._service.faults
        assert subscription is not None
        assert consumer is not None
        while True:
            while self._outbox and not (self._ended and self._error is not None):
                response, batch = self._outbox.popleft()
                await self._write(response)
                if batch and faults.active and (error := faults.resets(subscription.name)) is not None:
                    self.end(error)
                if not consumer.ready and not self._ended:
                    consumer.ready = True
                    self._emulator.woken(subscription)
            if self._ended:
                break
            self._wake.clear()
            await self._wake.wait()
        if self._error is not None:
            raise self._error

    async def _read(self, read: Callable[[], Awaitable[bytes | None]]) -> None:
        assert self._subscription is not None
        try:
            while (raw := await read()) is not None:
                self._later(_parse(raw))
        except StatusError as error:
            self.end(error)
        finally:
            self.end(None)  # whatever ended the reading: a stream without a reader would hang

    def _later(self, request: Any) -> None:
        assert self._subscription is not None
        assert self._consumer is not None
        for field in _FIRST_ONLY:
            if getattr(request, field):
                raise invalid(f"{field} may only be set in the first request of a stream.")
        if request.stream_ack_deadline_seconds:
            limits.within(request.stream_ack_deadline_seconds, limits.ACK_DEADLINE_S, "stream_ack_deadline_seconds")
            self._consumer.ack_deadline_s = request.stream_ack_deadline_seconds
        elif not request.ack_ids and not request.modify_deadline_ack_ids and self._answers_keepalives:
            self._send(b"", [])
        self._handle(self._subscription, request)

    def _handle(self, subscription: Subscription, request: Any) -> None:
        """Apply the acks and deadline changes of one request."""
        ack_ids, modify_ids = unique(request.ack_ids), list(request.modify_deadline_ack_ids)
        seconds = list(request.modify_deadline_seconds)
        if len(seconds) != len(modify_ids):
            raise invalid(
                f"modify_deadline_seconds has {len(seconds)} elements, modify_deadline_ack_ids {len(modify_ids)}: "
                "they must be as many."
            )
        for value in seconds:
            limits.within(value, limits.MODIFY_DEADLINE_S, "modify_deadline_seconds")
        exactly_once = subscription.rules.exactly_once
        if not exactly_once:
            for ack_id in (*ack_ids, *modify_ids):
                if not subscription.knows(ack_id):
                    raise bad_ack_id(ack_id)
        now = self._emulator.clock.now()
        response = protos.StreamingPullResponse()
        if ack_ids:
            results = self._service.subscriber.settle(subscription, ack_ids)
            confirmation = response.acknowledge_confirmation
            for ack_id, result in zip(ack_ids, results, strict=True):
                if result is AckResult.DONE:
                    confirmation.ack_ids.append(ack_id)
                elif result is AckResult.UNORDERED:
                    confirmation.unordered_ack_ids.append(ack_id)
                elif result is AckResult.DROPPED:
                    confirmation.temporary_failed_ack_ids.append(ack_id)
                else:
                    confirmation.invalid_ack_ids.append(ack_id)
        if modify_ids:
            modified = response.modify_ack_deadline_confirmation
            for ack_id, value in zip(modify_ids, seconds, strict=True):
                result = subscription.modify_deadline(ack_id, seconds=value, now=now)
                (modified.ack_ids if result is AckResult.DONE else modified.invalid_ack_ids).append(ack_id)
        if ack_ids or modify_ids:
            self._emulator.commit()
            if exactly_once:
                self._send(response.SerializeToString() + self._properties, [])


def _parse(raw: bytes) -> Any:
    try:
        return protos.StreamingPullRequest.FromString(raw)
    except DecodeError:
        raise invalid("The request is not a valid google.pubsub.v1.StreamingPullRequest.") from None
