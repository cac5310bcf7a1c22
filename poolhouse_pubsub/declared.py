"""Topics and subscriptions that are declared before the server answers.

A topology is a list, as TOML, JSON or Python objects; ids get the project in front, full names stay as they are, and
the fields are those of the REST API in either spelling:

    topics = ["orders", { name = "projects/other/topics/audit", labels = { team = "billing" } }]
    subscriptions = [{ name = "orders-worker", topic = "orders", ack_deadline_seconds = 30 }]
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
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
        path: A `.toml` or `.json` file with `topics` and `subscriptions`.
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
    try:
        return parse(document, project=project)
    except TopologyError as error:
        raise TopologyError(f"{path}: {error}") from None


def parse(document: Any, *, project: str) -> Topology:
    """Return the topology of a document that is read already.

    Raises:
        TopologyError: It is not one.
    """
    if not isinstance(document, Mapping) or not set(document) <= {"topics", "subscriptions"}:
        raise TopologyError("a topology has topics and subscriptions, and nothing else")
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
