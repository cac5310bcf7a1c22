"""The task type that delivers an event: it is retried with backoff, and has dead letters, as any other."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Collection
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from pydantic import BaseModel

from poolhouse.pipeline import numbers
from poolhouse.pipeline.config.topology import Topology
from poolhouse.pipeline.config.webhook_options import Webhooks
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.timing.backoff import Backoff
from poolhouse.pipeline.webhooks.events import WEBHOOK
from poolhouse.pipeline.webhooks.urls import check_url
from poolhouse.worker.context import TaskContext
from poolhouse.worker.errors import Reject, Retry
from poolhouse.worker.registry import Handler, Payload, Registry
from poolhouse.worker.webhooks import connection, signature

#: From five seconds to a day: twelve attempts take about four days.
BACKOFF = Backoff(base_s=5, factor=4, ceiling_s=86_400, jitter=0.2)
#: The longest wait that a receiver may ask for, in seconds.
LONGEST_WAIT_S = 86_400.0
#: How much longer than a receiver's time a delivery may take, in seconds: name resolution and handshake are in it.
MARGIN_S = 5.0


class EventDelivery(Payload):
    """An event and its receiver."""

    url: str
    event: dict[str, Any]


class Delivered(BaseModel):
    """The receiver's answer."""

    status: int


def handler(options: Webhooks) -> Handler:
    """Return the handler of `WEBHOOK` for a deployment."""

    def deliver(payload: EventDelivery, ctx: TaskContext) -> Delivered:
        """Call the receiver of an event."""
        return _deliver(payload, ctx, options)

    return Handler(
        task_type=WEBHOOK,
        function=deliver,
        payload_type=EventDelivery,
        timeout_s=options.timeout_s + MARGIN_S,
        max_attempts=options.max_attempts,
        backoff=BACKOFF,
        defined_at=__file__,
    )


def with_deliveries(registry: Registry, topology: Topology) -> Registry:
    """The handlers of a worker: those of the project, and ours where pipeline.toml has `[webhooks]`."""
    if topology.webhooks is None:
        return registry
    return Registry([*registry.values(), handler(topology.webhooks)])


def check_secret(topology: Topology, *, queues: Collection[str]) -> None:
    """Check what signs the events, as a worker starts: without it each delivery would fail, for days.

    Args:
        topology: the declaration.
        queues: the ones that the worker serves; it needs no secret where none of them has deliveries.

    Raises:
        ConfigError: the variable is missing, or is no secret.
    """
    options = topology.webhooks
    if options is None or not queues or (options.queue is not None and options.queue not in queues):
        return
    try:
        _secrets(options)
    except RuntimeError as error:
        raise ConfigError(f"webhooks.secret in pipeline.toml: {error}") from None


def _deliver(payload: EventDelivery, ctx: TaskContext, options: Webhooks) -> Delivered:
    body = json.dumps(payload.event, ensure_ascii=False, separators=(",", ":")).encode()
    # The machine's time, also where the stack's clock was moved: receivers compare it with theirs.
    headers = signature.headers(body, event_id=ctx.task_id, at=datetime.now(UTC), secrets=_secrets(options))
    headers |= {"content-type": "application/json", "user-agent": "Poolhouse-Webhooks"}
    host = check_url(payload.url).hostname
    try:
        answer = connection.post(payload.url, body, headers, options=options)
    except connection.AddressRefused as error:
        raise Reject(str(error)) from None
    except http.client.HTTPException as error:
        raise Retry(f"{host} did not answer by HTTP: {type(error).__name__}") from None
    except OSError as error:
        raise Retry(f"{host} can't be called: {error}") from None
    if 200 <= answer.status < 300:
        return Delivered(status=answer.status)
    told = f"{host} answered {answer.status}" + (f": {answer.text[:200]}" if answer.text else "")
    if answer.status == 410:
        raise Reject(f"{told}; it wants no more of them")
    raise Retry(told, after_s=_wait_s(answer, ctx.now()))


def _secrets(options: Webhooks) -> list[bytes]:
    text = os.environ.get(options.secret, "")
    try:
        return signature.secrets_of(text)
    except ValueError as error:
        raise RuntimeError(f"the variable {options.secret}, which signs webhooks, {error}") from None


def _wait_s(answer: connection.Answer, now: datetime) -> float | None:
    """The wait that a busy receiver asks for, in seconds (RFC 9110, Retry-After); None where it asks for none."""
    if answer.status not in {429, 503} or answer.retry_after is None:
        return None
    wait_s: float | None = numbers.digits(answer.retry_after, most=9)
    if wait_s is None:
        try:
            at = parsedate_to_datetime(answer.retry_after)
        except ValueError:
            return None
        wait_s = ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds()
    return min(LONGEST_WAIT_S, max(BACKOFF.base_s, wait_s))
