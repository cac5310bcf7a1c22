"""The rates of Cloud Storage, enforced in front of its emulator."""

from __future__ import annotations

import json

import pytest

from poolhouse.local.storage.proxy import Mutation, WriteLimits
from poolhouse.local.storage.proxy.limits import refusal
from poolhouse.local.storage.proxy.mutations import mutation_of
from poolhouse.local.storage.proxy.requests import Request, properties_in

UPLOAD = "/upload/storage/v1/b/box/o?uploadType="
A, B = Mutation("object", "box/a"), Mutation("object", "box/b")


class Limits:
    """Limits on a clock that the test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.refused: list[Mutation] = []
        self._limits = WriteLimits(on_refused=self.refused.append, monotonic=lambda: self.now_s)
        self.admit = self._limits.admit


@pytest.fixture
def limits() -> Limits:
    return Limits()


def test_a_name_is_changed_once_a_second_and_others_do_not_matter(limits: Limits) -> None:
    assert limits.admit(A)
    assert limits.admit(B)
    limits.now_s += 0.99
    assert limits.admit(A) is None
    limits.now_s += 0.01
    assert limits.admit(A)
    assert limits.refused == [A]


def test_what_is_refused_does_not_count(limits: Limits) -> None:
    limits.admit(A)
    limits.now_s += 0.9
    assert limits.admit(A) is None
    limits.now_s += 0.1
    assert limits.admit(A)


def test_a_change_that_the_server_refused_is_none(limits: Limits) -> None:
    take_back = limits.admit(A)
    assert take_back is not None
    take_back()
    assert limits.admit(A)
    limits.now_s += 1
    take_back = limits.admit(A)
    assert take_back is not None
    limits.now_s += 0.5
    take_back()  # the one before is over meanwhile
    assert limits.admit(A)


def test_buckets_are_made_every_two_seconds(limits: Limits) -> None:
    made, updated = Mutation("buckets"), Mutation("bucket", "box")
    assert limits.admit(made)
    assert limits.admit(updated)
    limits.now_s += 1
    assert limits.admit(made) is None
    assert limits.admit(updated)
    limits.now_s += 1
    assert limits.admit(made)


def test_names_are_forgotten_when_their_time_is_over(limits: Limits) -> None:
    for number in range(10_000):
        limits.admit(Mutation("object", str(number)))
    limits.now_s += 1
    limits.admit(A)
    assert len(limits._limits._last_s) == 1


def test_the_answer_is_that_of_cloud_storage() -> None:
    error = json.loads(refusal(A))["error"]
    assert error["code"] == 429
    assert "box/a exceeded the rate limit for object mutation operations" in error["message"]
    assert [(each["domain"], each["reason"]) for each in error["errors"]] == [("usageLimits", "rateLimitExceeded")]


@pytest.mark.parametrize(
    ("method", "target", "properties", "expected"),
    [
        ("POST", f"{UPLOAD}multipart", {"name": "a"}, A),
        ("POST", f"{UPLOAD}multipart&ifGenerationMatch=0", {"name": "a"}, A),
        ("POST", f"{UPLOAD}media&name=a", {}, A),
        ("POST", f"{UPLOAD}resumable&name=a", {}, A),
        ("POST", f"/resumable{UPLOAD}resumable&name=a", {}, A),
        ("PUT", f"{UPLOAD}resumable&name=a&upload_id=x", {}, None),
        ("DELETE", "/storage/v1/b/box/o/a", {}, A),
        ("DELETE", "/storage/v1/b/box/o/tasks%2Fa.json%2Cclaim?x=1", {}, Mutation("object", "box/tasks/a.json,claim")),
        ("PATCH", "/storage/v1/b/box/o/a", {}, A),
        ("POST", "/storage/v1/b/other/o/b/rewriteTo/b/box/o/a", {}, A),
        ("POST", "/storage/v1/b/other/o/b/copyTo/b/box/o/a", {}, A),
        ("POST", "/storage/v1/b/box/o/a/compose", {}, A),
        ("PATCH", "/storage/v1/b/box?fields=x", {}, Mutation("bucket", "box")),
        ("POST", "/storage/v1/b?project=p", {}, Mutation("buckets")),
        ("DELETE", "/storage/v1/b/box", {}, Mutation("buckets")),
        ("GET", "/storage/v1/b/box/o/a", {}, None),
        ("GET", "/storage/v1/b/box/o?prefix=a", {}, None),
        ("GET", "/download/storage/v1/b/box/o/a?alt=media", {}, None),
    ],
)
def test_what_a_request_changes(
    method: str, target: str, properties: dict[str, str], expected: Mutation | None
) -> None:
    assert mutation_of(Request(method, target, properties)) == expected


def test_an_upload_may_have_its_name_in_its_body() -> None:
    assert Request("POST", f"{UPLOAD}multipart").names_in_body
    assert Request("POST", f"{UPLOAD}resumable").names_in_body
    assert not Request("POST", f"{UPLOAD}media&name=a").names_in_body
    assert not Request("DELETE", "/storage/v1/b/box/o/a").names_in_body


def test_the_properties_are_found_once_they_are_there() -> None:
    body = b'--x\r\ncontent-type: application/json\r\n\r\n{"name": "a"}\r\n--x\r\ncontent-type: t\r\n\r\ndata\r\n--x--'
    found = [properties_in(body[:end]) for end in range(len(body) + 1)]
    whole = body.index(b"\r\n--x\r\n") + 4
    assert found[:whole] == [None] * whole
    assert found[whole:] == [{"name": "a"}] * (len(body) + 1 - whole)
    assert properties_in(b"--x\r\n\r\nno JSON\r\n--x") == {}
    assert [properties_in(body) for body in (b'{"name"', b'{"name": "a"}')] == [None, {"name": "a"}]
