"""Topics and subscriptions that are declared before the server answers.

A topology is a `pipeline.toml`, or a plain list as TOML, JSON or Python objects; ids get the project in front, full
names stay as they are, and the fields are those of the REST API in either spelling:

    topics = ["orders", { name = "projects/other/topics/audit", labels = { team = "billing" } }]
    subscriptions = [{ name = "orders-worker", topic = "orders", ack_deadline_seconds = 30 }]
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from poolhouse_pubsub import protos
from poolhouse_pubsub.service import Service
from poolhouse_pubsub.status import Code, StatusError


class TopologyError(ValueError):
    """A topology that can't be made; says which resource and why."""


@dataclass(frozen=True, slots=True)
class Topology:
    """What is to be there."""

    #: `google.pubsub.v1.Topic` messages.
    topics: tuple[Any, ...]
    #: `google.pubsub.v1.Subscription` messages.
    subscriptions: tuple[Any, ...]


def load(path: str | Path, *, project: str) -> Topology:
    """Read a topology file.

    Args:
        path: A `pipeline.toml`, or a `.toml` or `.json` file with `topics` and `subscriptions`.
        project: Project of all that has no full name.

    Raises:
        TopologyError: It can't be read.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        document = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise TopologyError(f"{path}: can't be read as a topology: {error}") from None
    if isinstance(document, dict) and "queues" in document:
        return _from_pipeline(path, project=project)
    try:
        return parse(document, project=project)
    except TopologyError as error:
        raise TopologyError(f"{path}: {error}") from None


def parse(document: Any, *, project: str) -> Topology:
    """Return the plain form, already read.

    Raises:
        TopologyError: It is not one.
    """
    if not isinstance(document, Mapping) or not set(document) <= {"topics", "subscriptions"}:
        raise TopologyError("a topology has topics and subscriptions, or is a pipeline.toml with queues")
    topics = tuple(_resource(entry, protos.Topic, "topics", project) for entry in _entries(document, "topics"))
    subscriptions = []
    for entry in _entries(document, "subscriptions"):
        subscription = _resource(entry, protos.Subscription, "subscriptions", project)
        subscription.topic = _full(subscription.topic, "topics", project)
        dead_letter = subscription.dead_letter_policy if subscription.HasField("dead_letter_policy") else None
        if dead_letter is not None:
            dead_letter.dead_letter_topic = _full(dead_letter.dead_letter_topic, "topics", project)
        subscriptions.append(subscription)
    return Topology(topics, tuple(subscriptions))


def _entries(document: Mapping[str, Any], kind: str) -> Sequence[Any]:
    entries = document.get(kind, ())
    if not isinstance(entries, list | tuple):
        raise TopologyError(f"{kind} is a list")
    return entries


def _resource(entry: Any, message: Any, kind: str, project: str) -> Any:
    fields = {"name": entry} if isinstance(entry, str) else entry
    try:
        resource = json_format.ParseDict(fields, message())
    except (json_format.ParseError, TypeError, AttributeError) as error:
        raise TopologyError(f"{entry!r} in {kind}: {error}") from None
    if not resource.name:
        raise TopologyError(f"{entry!r} in {kind} has no name")  # the server would make up another one at each start
    resource.name = _full(resource.name, kind, project)
    return resource


def _full(name: str, kind: str, project: str) -> str:
    return name if "/" in name or not name else f"projects/{project}/{kind}/{name}"


def _from_pipeline(path: Path, *, project: str) -> Topology:
    from poolhouse.pipeline import topology  # noqa: PLC0415 - the emulator works without the rest of the project
    from poolhouse.pipeline.errors import ConfigError  # noqa: PLC0415

    try:
        queues = topology.load(path).queues
    except ConfigError as error:
        raise TopologyError(str(error)) from None
    return parse(
        {"topics": list(_queue_topics(queues)), "subscriptions": list(_queue_subscriptions(queues))}, project=project
    )


def _queue_topics(queues: Sequence[Any]) -> Iterator[str]:
    for queue in queues:
        yield queue.dead_letter_topic
        yield queue.topic


def _queue_subscriptions(queues: Sequence[Any]) -> Iterator[dict[str, Any]]:
    for queue in queues:
        # An empty expiration policy means never: unset, a subscription is deleted after 31 quiet days.
        yield {
            "name": queue.dead_letter_subscription,
            "topic": queue.dead_letter_topic,
            "ackDeadlineSeconds": 60,
            "expirationPolicy": {},
        }
        yield {
            "name": queue.subscription,
            "topic": queue.topic,
            "ackDeadlineSeconds": queue.ack_deadline_s,
            "messageRetentionDuration": f"{queue.retention_s}s",
            "enableExactlyOnceDelivery": queue.exactly_once,
            "expirationPolicy": {},
            "retryPolicy": {
                "minimumBackoff": f"{queue.retry_min_backoff_s:.3f}s",
                "maximumBackoff": f"{queue.retry_max_backoff_s:.3f}s",
            },
            "deadLetterPolicy": {
                "deadLetterTopic": queue.dead_letter_topic,
                "maxDeliveryAttempts": queue.max_delivery_attempts,
            },
        }


def realise(topology: Topology, service: Service) -> None:
    """Make what is not there yet; what is there (kept from an earlier run) stays as it is.

    Raises:
        TopologyError: The emulator refuses a resource.
    """
    for create, resources in (
        (service.publisher.create_topic, topology.topics),
        (service.subscriber.create_subscription, topology.subscriptions),
    ):
        for resource in resources:
            own = type(resource)()
            own.CopyFrom(resource)
            try:
                create(own)
            except StatusError as error:
                if error.code is not Code.ALREADY_EXISTS:
                    raise TopologyError(f"{resource.name}: {error}") from None
