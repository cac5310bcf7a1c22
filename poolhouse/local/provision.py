"""Makes what `pipeline.toml` declares on the local servers: topics, subscriptions with their policies, the bucket.

Through the ordinary clients, so it works on any emulator; idempotent: what exists is compared and brought up to date.
Its twin for Google Cloud is in cloud/.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from google.api_core import exceptions as google_errors
from google.api_core.retry import Retry, if_exception_type
from google.cloud import pubsub_v1
from google.protobuf import duration_pb2, field_mask_pb2, json_format

from poolhouse.local.errors import StackError
from poolhouse.local.storage.fake_gcs import FakeGcs
from poolhouse.pipeline.config.queue import Queue
from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.config.topology import Topology

#: Ack deadline of dead-letter subscriptions, in seconds: keeping a dead letter is two or three storage calls.
DEAD_LETTER_ACK_DEADLINE_S = 60
#: Dead letters that can't be kept now (storage is down) come again at this pace, in seconds.
DEAD_LETTER_BACKOFF_S = (1, 60)
#: Pub/Sub's longest retention without extra cost, in seconds.
DEAD_LETTER_RETENTION_S = 604_800
_TIMEOUT_S = 10
#: Of one call, tries included: the client library's own go on for ten minutes.
_CALL: Any = {
    "timeout": _TIMEOUT_S,
    "retry": Retry(predicate=if_exception_type(google_errors.ServiceUnavailable), initial=0.1, timeout=2 * _TIMEOUT_S),
}


@dataclass(frozen=True)
class Changes:
    """What `realise` did: ids of resources."""

    created: tuple[str, ...]
    updated: tuple[str, ...]


@dataclass(frozen=True)
class _Subscription:
    id: str
    topic: str
    fields: dict[str, Any]


def realise(settings: Settings) -> Changes:
    """Make or bring up to date every topic, subscription and the bucket.

    Raises:
        StackError: STORAGE_EMULATOR_HOST or PUBSUB_EMULATOR_HOST is not set: this never touches Google Cloud.
        google.api_core.exceptions.GoogleAPICallError, requests.RequestException: a server refused.
    """
    for variable in ("PUBSUB_EMULATOR_HOST", "STORAGE_EMULATOR_HOST"):
        if not os.environ.get(variable):
            raise StackError(f"{variable} is not set: the local topology is made on local servers only")
    created: list[str] = []
    updated: list[str] = []
    storage = FakeGcs(os.environ["STORAGE_EMULATOR_HOST"])
    if storage.create_bucket(settings.bucket_name, project=settings.google_cloud_project):
        created.append(settings.bucket_name)
    storage.close()
    publisher, subscriber = pubsub_v1.PublisherClient(), pubsub_v1.SubscriberClient()
    project = settings.google_cloud_project
    queues = settings.topology.queues
    with ThreadPoolExecutor(8) as pool:
        # All topics before any subscription: a subscription names its dead-letter topic.
        topics = _topics(settings.topology)
        made = pool.map(lambda topic: _ensure_topic(publisher, project, topic), topics)
        created += [topic for topic, new in zip(topics, made, strict=True) if new]
        wanted = [subscription for queue in queues for subscription in _subscriptions(queue, project)]
        done = pool.map(lambda subscription: _ensure_subscription(subscriber, project, subscription), wanted)
        for subscription, word in zip(wanted, done, strict=True):
            if word is not None:
                (created if word == "created" else updated).append(subscription.id)
    publisher.transport.close()
    subscriber.close()
    return Changes(tuple(created), tuple(updated))


def declaration(topology: Topology, *, project: str) -> dict[str, Any]:
    """What `realise` makes on Pub/Sub, as our emulator's `topology` takes it."""
    subscriptions = [_wanted(entry, project) for queue in topology.queues for entry in _subscriptions(queue, project)]
    return {
        "topics": [_topic(project, topic) for topic in _topics(topology)],
        "subscriptions": [json_format.MessageToDict(type(entry).pb(entry)) for entry in subscriptions],
    }


def _topics(topology: Topology) -> list[str]:
    return [
        topic for queue in topology.queues for topic in (queue.dead_letter_topic, *(tier.topic for tier in queue.tiers))
    ]


def _topic(project: str, topic: str) -> str:
    return f"projects/{project}/topics/{topic}"


def _wanted(subscription: _Subscription, project: str) -> pubsub_v1.types.Subscription:
    return pubsub_v1.types.Subscription(
        name=f"projects/{project}/subscriptions/{subscription.id}",
        topic=_topic(project, subscription.topic),
        **subscription.fields,
    )


def _subscriptions(queue: Queue, project: str) -> Iterator[_Subscription]:
    yield _Subscription(
        queue.dead_letter_subscription,
        queue.dead_letter_topic,
        {
            "ack_deadline_seconds": DEAD_LETTER_ACK_DEADLINE_S,
            "message_retention_duration": _duration(DEAD_LETTER_RETENTION_S),
            "retry_policy": _retry(*DEAD_LETTER_BACKOFF_S),
            "expiration_policy": pubsub_v1.types.ExpirationPolicy(),
        },
    )
    for tier in queue.tiers:
        yield _Subscription(tier.subscription, tier.topic, _work(queue, project))


def _work(queue: Queue, project: str) -> dict[str, Any]:
    """The fields of what a queue's workers pull."""
    return {
        "ack_deadline_seconds": queue.ack_deadline_s,
        "message_retention_duration": _duration(queue.retention_s),
        "retry_policy": _retry(queue.retry_min_backoff_s, queue.retry_max_backoff_s),
        "dead_letter_policy": pubsub_v1.types.DeadLetterPolicy(
            dead_letter_topic=_topic(project, queue.dead_letter_topic),
            max_delivery_attempts=queue.max_delivery_attempts,
        ),
        "enable_exactly_once_delivery": queue.exactly_once,
        # Set and empty: never. Unset it would be deleted after 31 quiet days.
        "expiration_policy": pubsub_v1.types.ExpirationPolicy(),
    }


def _ensure_topic(publisher: pubsub_v1.PublisherClient, project: str, topic: str) -> bool:
    try:
        publisher.create_topic(name=_topic(project, topic), **_CALL)
    except google_errors.AlreadyExists:
        return False
    return True


def _ensure_subscription(
    subscriber: pubsub_v1.SubscriberClient, project: str, subscription: _Subscription
) -> str | None:
    wanted = _wanted(subscription, project)
    path, topic = wanted.name, wanted.topic
    try:
        subscriber.create_subscription(wanted, **_CALL)
    except google_errors.AlreadyExists:
        present = subscriber.get_subscription(subscription=path, **_CALL)
    else:
        return "created"
    if present.topic != topic:
        raise StackError(f"subscription {path} belongs to {present.topic}: delete it, or rename the pipeline")
    differing = [name for name in subscription.fields if getattr(present, name) != getattr(wanted, name)]
    if not differing:
        return None
    subscriber.update_subscription(
        request={"subscription": wanted, "update_mask": field_mask_pb2.FieldMask(paths=differing)}, **_CALL
    )
    return "updated"


def _retry(least_s: float, most_s: float) -> pubsub_v1.types.RetryPolicy:
    return pubsub_v1.types.RetryPolicy(minimum_backoff=_duration(least_s), maximum_backoff=_duration(most_s))


def _duration(seconds: float) -> duration_pb2.Duration:
    return duration_pb2.Duration(seconds=int(seconds), nanos=round(seconds % 1 * 1e9))
