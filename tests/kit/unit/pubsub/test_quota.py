"""How much a project and a topic may have: the one too many is refused, another project is not touched."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from poolhouse_pubsub import protos
from poolhouse_pubsub.resources import Resources
from poolhouse_pubsub.service import paging
from poolhouse_pubsub.status import Code, StatusError
from tests.kit.unit.pubsub.world import World


def refused(call: Callable[[], Any]) -> Code:
    with pytest.raises(StatusError) as caught:
        call()
    return caught.value.code


def test_a_project_has_10_000_topics() -> None:
    world = World()  # with one topic in the project core
    for number in range(9_999):
        world.topic(f"projects/core/topics/topic-{number}")
    assert refused(lambda: world.topic("projects/core/topics/one-more")) is Code.RESOURCE_EXHAUSTED
    world.topic("projects/other/topics/first")


def test_a_project_and_a_topic_have_10_000_subscriptions() -> None:
    world = World()  # with one subscription of one topic
    for number in range(9_999):
        world.subscribe(f"projects/core/subscriptions/worker-{number}")
    other = "projects/other/topics/first"
    world.topic(other)
    create = world.subscribe
    assert refused(lambda: create("projects/core/subscriptions/one-more", topic=other)) is Code.RESOURCE_EXHAUSTED
    assert refused(lambda: create("projects/other/subscriptions/one-more")) is Code.RESOURCE_EXHAUSTED
    create("projects/other/subscriptions/first", topic=other)


def test_a_project_and_a_topic_have_5_000_snapshots() -> None:
    world = World()
    world.topic("projects/other/topics/first")
    world.subscribe("projects/other/subscriptions/first", topic="projects/other/topics/first")

    def create(name: str, subscription: str) -> None:
        request = protos.CreateSnapshotRequest(name=name, subscription=subscription)
        world.service.snapshots.create_snapshot(request)

    own, other = "projects/core/subscriptions/orders-worker", "projects/other/subscriptions/first"
    for number in range(5_000):
        create(f"projects/core/snapshots/snapshot-{number}", own)
    assert refused(lambda: create("projects/core/snapshots/one-more", other)) is Code.RESOURCE_EXHAUSTED
    assert refused(lambda: create("projects/other/snapshots/one-more", own)) is Code.RESOURCE_EXHAUSTED
    create("projects/other/snapshots/first", other)


def test_a_project_has_10_000_schemas() -> None:
    service = World().service
    schema = {"type": "AVRO", "definition": '"string"'}

    async def create(project: str, count: int, start: int = 0) -> None:
        for number in range(start, start + count):
            request = protos.CreateSchemaRequest(parent=project, schema_id=f"schema-{number}", schema=schema)
            await service.schemas.create_schema(request)

    asyncio.run(create("projects/core", 10_000))
    assert refused(lambda: asyncio.run(create("projects/core", 1, start=10_000))) is Code.RESOURCE_EXHAUSTED
    asyncio.run(create("projects/other", 1))


def test_a_page_has_at_most_1_000_names_and_100_unless_asked() -> None:
    names = [f"name-{number:04d}" for number in range(1_500)]
    first, token = paging.page(names, size=1_000_000, token="")
    rest, end = paging.page(names, size=1_000_000, token=token)
    assert (len(first), first + rest, end) == (1_000, names, "")
    assert len(paging.page(names, size=0, token="")[0]) == 100


def test_resources_are_counted_by_project_whatever_becomes_of_them() -> None:
    resources: Resources[int] = Resources()
    for name in ("projects/a/topics/x", "projects/a/topics/y", "projects/b/topics/x", "projects/a/topics/x"):
        resources[name] = 1
    assert (resources.count("a"), resources.count("b"), resources.count("c")) == (2, 1, 0)
    del resources["projects/a/topics/x"]
    assert resources.pop("projects/a/topics/x", None) is None
    assert resources.pop("projects/b/topics/x") == 1
    assert (resources.count("a"), resources.count("b")) == (1, 0)
    resources.clear()
    assert resources.count("a") == 0
