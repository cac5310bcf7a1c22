"""What the storage proxy reads of requests, and what it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from poolhouse.local.storage.proxy.requests import Request, StoredObject
from poolhouse.local.storage.proxy.strictness import Refusal, Strictness

UPLOAD = "/upload/storage/v1/b/box/o?uploadType="
OBJECT = "/storage/v1/b/box/o/"


class World:
    """A strictness, and the generations of the objects that the server has."""

    def __init__(self, **generations: int) -> None:
        self.generations = generations
        self.looks = 0
        self.strictness = Strictness(self._look)

    async def _look(self, stored: StoredObject) -> Mapping[str, Any] | None:
        self.looks += 1
        found = self.generations.get(stored.name)
        return None if found is None else {"generation": str(found), "metageneration": "1"}

    def refusal(
        self, method: str, target: str, *, content_range: str | None = None, **properties: Any
    ) -> Refusal | None:
        async def judge() -> Refusal | None:
            async with self.strictness.judged(Request(method, target, properties, content_range)) as refused:
                return refused

        return asyncio.run(judge())

    def status(self, method: str, target: str, *, content_range: str | None = None) -> int | None:
        refused = self.refusal(method, target, content_range=content_range)
        return None if refused is None else refused.status


@pytest.mark.parametrize("name", ["../a", "a/../../b", "a/..", "./a", "a//b", "/a", "a/", "", "x" * 1025])
def test_a_name_of_another_object_is_refused_wherever_it_is_named(name: str) -> None:
    world = World()
    encoded = name.replace("/", "%2F")
    named = [
        world.refusal("POST", f"{UPLOAD}media&name={encoded}"),
        world.refusal("POST", f"{UPLOAD}multipart", name=name),
        world.refusal("POST", f"{UPLOAD}resumable", name=name),
        world.refusal("POST", f"{OBJECT}a/rewriteTo/b/box/o/{encoded or '%2F'}"),
        world.refusal("POST", f"{OBJECT}{encoded or '%2F'}/copyTo/b/box/o/a"),
        world.refusal("POST", f"{OBJECT}a/compose", sourceObjects=[{"name": "a"}, {"name": name}]),
        *(world.refusal(method, f"{OBJECT}{encoded or '%2F'}") for method in ("GET", "DELETE", "PATCH")),
        world.refusal("PUT", f"/box/{name or '/'}"),
    ]
    assert [refused and refused.status for refused in named] == [400] * len(named)
    assert world.looks == 0


@pytest.mark.parametrize("name", ["a", "a/b", "..a", "a..b/c...", ".hidden", "x" * 1024])
def test_other_names_are_taken(name: str) -> None:
    assert World().refusal("POST", f"{UPLOAD}multipart", name=name) is None


@pytest.mark.parametrize(
    "target", ["/storage/v1/b/box/o?prefix=a//", "/storage/v1/b/box", "/_internal/healthcheck", "/box"]
)
def test_requests_that_name_no_object_are_taken(target: str) -> None:
    assert World().refusal("GET", target) is None


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("DELETE", f"{OBJECT}a?ifGenerationMatch=7", None),
        ("DELETE", f"{OBJECT}a?ifGenerationMatch=6", 412),
        ("GET", f"{OBJECT}a?ifGenerationMatch=6", 412),
        ("GET", f"{OBJECT}a?ifGenerationNotMatch=7", 304),
        ("GET", f"/download{OBJECT}a?alt=media&ifGenerationNotMatch=7", 304),
        ("DELETE", f"{OBJECT}a?ifGenerationNotMatch=7", 412),
        ("PATCH", f"{OBJECT}a?ifMetagenerationMatch=2", 412),
        ("POST", f"{OBJECT}other/rewriteTo/b/box/o/a?ifGenerationMatch=0", 412),
        ("POST", f"{OBJECT}other/rewriteTo/b/box/o/new?ifGenerationMatch=0", None),
        ("POST", f"{OBJECT}a/copyTo/b/box/o/new?ifSourceGenerationMatch=6", 412),
        ("POST", f"{OBJECT}a/compose?ifGenerationMatch=0", 412),
        ("POST", f"{OBJECT}new/compose?ifGenerationMatch=6", 412),
        ("POST", f"{UPLOAD}media&name=a&ifMetagenerationMatch=2", 412),
        ("POST", f"{UPLOAD}resumable&name=a&ifGenerationMatch=0", 412),
        ("POST", f"{UPLOAD}resumable&name=new&ifGenerationMatch=0", None),
        # The server itself says that they are absent, or that a precondition is none.
        ("GET", f"{OBJECT}new?ifGenerationMatch=6", None),
        ("DELETE", f"{OBJECT}new?ifGenerationMatch=6", None),
        ("DELETE", f"{OBJECT}a?ifGenerationMatch=none", None),
    ],
)
def test_a_precondition_is_about_the_object_that_is_read_or_written(
    method: str, target: str, status: int | None
) -> None:
    assert World(a=7).status(method, target) == status


def test_what_the_server_heeds_itself_costs_no_look() -> None:
    world = World(a=7)
    assert world.status("POST", f"{UPLOAD}media&name=a&ifGenerationMatch=0") is None
    assert world.status("GET", f"{OBJECT}a") is None
    assert world.looks == 0


def test_an_upload_session_keeps_its_precondition_for_the_request_that_completes_it() -> None:
    world = World()
    session = f"{UPLOAD}resumable&name=a&upload_id=x"
    opened = Request("POST", f"{UPLOAD}resumable&name=a&ifGenerationMatch=0")
    world.strictness.opened(opened, f"http://127.0.0.1:1{session}")
    assert world.status("PUT", session, content_range="bytes 0-9/20") is None
    assert world.looks == 0
    assert world.status("PUT", session, content_range="bytes 10-19/20") is None
    world.generations["a"] = 7
    assert world.status("PUT", session, content_range="bytes 10-19/20") == 412
    assert world.status("PUT", session) == 412
    assert world.status("PUT", session, content_range="bytes */20") is None
    assert world.status("PUT", f"{UPLOAD}resumable&name=a&upload_id=other") is None


def test_of_requests_with_preconditions_on_one_object_one_at_a_time_goes_on() -> None:
    world = World(a=7, b=7)
    order = []

    async def delete(name: str) -> None:
        async with world.strictness.judged(Request("DELETE", f"{OBJECT}{name}?ifGenerationMatch=7")) as refused:
            order.append((name, refused is None))
            await asyncio.sleep(0)
            world.generations.pop(name, None)
            order.append((name, "done"))

    async def all_at_once() -> None:
        await asyncio.gather(*(delete(name) for name in "abaa"))

    asyncio.run(all_at_once())
    assert [event for event in order if event[0] == "a"] == [
        ("a", True),
        ("a", "done"),
    ] * 3  # absent: the server says so
    assert order.index(("b", True)) < order.index(("a", "done"))
    assert not world.strictness._locks
