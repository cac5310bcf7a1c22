"""The scenario of README.md with google-cloud-pubsub for Python."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable

from google.cloud import pubsub_v1
from google.cloud.pubsub_v1.subscriber.message import Message

TIMEOUT_S = 30.0
PROJECT = os.environ["GOOGLE_CLOUD_PROJECT"]
SUFFIX = sys.argv[1]

publisher = pubsub_v1.PublisherClient(
    publisher_options=pubsub_v1.types.PublisherOptions(enable_message_ordering=True),
)
subscriber = pubsub_v1.SubscriberClient()


def topic(name: str) -> str:
    path: str = publisher.topic_path(PROJECT, f"python-{name}-{SUFFIX}")
    publisher.create_topic(name=path)
    return path


def subscription(name: str, topic_path: str, **settings: object) -> str:
    path: str = subscriber.subscription_path(PROJECT, f"python-{name}-{SUFFIX}")
    subscriber.create_subscription(request={"name": path, "topic": topic_path, **settings})
    return path


def receive(path: str, handle: Callable[[Message], bool]) -> None:
    """Receives until `handle` has returned True once."""
    done = threading.Event()

    def callback(message: Message) -> None:
        if handle(message):
            done.set()

    pulling = subscriber.subscribe(path, callback)
    try:
        if not done.wait(TIMEOUT_S):
            raise TimeoutError(f"{path}: not all messages came within {TIMEOUT_S} s")
    finally:
        pulling.cancel()
        pulling.result(TIMEOUT_S)


def plain() -> dict[str, object]:
    topic_path = topic("plain")
    path = subscription("plain", topic_path)
    futures = [publisher.publish(topic_path, f"message-{n}".encode(), n=str(n)) for n in range(20)]
    published = {future.result(TIMEOUT_S) for future in futures}
    received: dict[str, list[str]] = {}

    def handle(message: Message) -> bool:
        message.ack()
        received[message.message_id] = [message.data.decode(), message.attributes["n"]]
        return len(received) == 20

    receive(path, handle)
    return {"received": sorted(received.values()), "ids_match": published == received.keys()}


def ordered() -> dict[str, list[str]]:
    topic_path = topic("ordered")
    path = subscription("ordered", topic_path, enable_message_ordering=True)
    for n in range(10):
        for key in ("a", "b"):
            publisher.publish(topic_path, f"{key}-{n}".encode(), ordering_key=key)
    received: dict[str, list[str]] = {"a": [], "b": []}

    def handle(message: Message) -> bool:
        received[message.ordering_key].append(message.data.decode())
        message.ack()
        return sum(map(len, received.values())) == 20

    receive(path, handle)
    return received


def nacked() -> dict[str, object]:
    topic_path = topic("nacked")
    path = subscription("nacked", topic_path)
    publisher.publish(topic_path, b"again").result(TIMEOUT_S)
    ids: list[str] = []

    def handle(message: Message) -> bool:
        ids.append(message.message_id)
        if len(ids) == 1:
            message.nack()
            return False
        message.ack()
        return True

    receive(path, handle)
    return {"deliveries": len(ids), "same_id": len(set(ids)) == 1}


def dead_letter() -> dict[str, object]:
    dead_topic = topic("dead")
    dead_path = subscription("dead", dead_topic)
    topic_path = topic("poison")
    policy = {"dead_letter_topic": dead_topic, "max_delivery_attempts": 5}
    path = subscription("poison", topic_path, dead_letter_policy=policy)
    publisher.publish(topic_path, b"poison", kind="bad").result(TIMEOUT_S)
    attempts: list[int | None] = []

    def refuse(message: Message) -> None:
        attempts.append(message.delivery_attempt)
        message.nack()

    # Open until the dead letter is there: some clients drop a nack that is given just before they stop.
    refusing = subscriber.subscribe(path, refuse)
    dead: dict[str, object] = {}

    def handle(message: Message) -> bool:
        dead.update(data=message.data.decode(), attributes=dict(message.attributes))
        message.ack()
        return True

    receive(dead_path, handle)
    refusing.cancel()
    refusing.result(TIMEOUT_S)
    return {"attempts": attempts, **dead}


print(json.dumps({**plain(), "ordered": ordered(), "nacked": nacked(), "dead_letter": dead_letter()}))
subscriber.close()
