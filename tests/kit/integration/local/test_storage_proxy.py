"""The storage proxy between the real client and a real storage server."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator

import pytest
import requests

from poolhouse.local.storage.proxy import Exchange, FaultProxy, Mutation, WriteLimits
from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.errors import PreconditionFailed, StoreUnavailable
from poolhouse.pipeline.pieces import PIECE_BYTES
from poolhouse.pipeline.store import ABSENT, GcsStore
from poolhouse.testing.servers import Servers

#: In the target of every request about objects: the client library also looks at the bucket once, when it pleases.
OBJECTS = "/o"


@pytest.fixture
def seen() -> list[Exchange]:
    return []


@pytest.fixture
def proxy(poolhouse_servers: Servers, seen: list[Exchange]) -> Iterator[FaultProxy]:
    def see(exchange: Exchange) -> None:
        if OBJECTS in exchange.target:
            seen.append(exchange)

    with FaultProxy(poolhouse_servers.storage_url, on_exchange=see) as proxy:
        yield proxy


@pytest.fixture
def store(poolhouse_settings: Settings, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> GcsStore:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
    return GcsStore(poolhouse_settings.bucket_name, project="p", timeout_s=3)


def _seen_all(seen: list[Exchange], count: int) -> None:
    """Wait for the proxy to tell: a client may have its answer a moment before."""
    end = time.monotonic() + 10
    while len(seen) < count and time.monotonic() < end:
        time.sleep(0.005)


def test_without_faults_all_goes_through_large_files_and_upload_sessions_too(
    store: GcsStore, proxy: FaultProxy
) -> None:
    data = os.urandom(PIECE_BYTES + 17)
    store.upload("uploads/large", io.BytesIO(data), content_type="text/plain", size_bytes=len(data))
    with store.open_read("uploads/large") as stream:
        assert stream.read() == data
    session = store.upload_session("uploads/small", content_type="text/plain", size_bytes=5, origin=None)
    assert session.startswith(proxy.url)
    assert requests.put(session, data=b"hello", timeout=10).ok
    assert store.get("uploads/small")[0] == b"hello"
    assert [info.name for info in store.list("uploads/").objects] == ["uploads/large", "uploads/small"]


@pytest.mark.parametrize("status", [429, 503])
def test_a_refused_request_is_repeated(store: GcsStore, proxy: FaultProxy, seen: list[Exchange], status: int) -> None:
    fault = proxy.faults.add("status", status=status, count=2, contains=OBJECTS)
    store.put("tasks/a.json", b"{}", if_generation=ABSENT)
    assert fault.happened == 2
    _seen_all(seen, 1)
    assert [exchange.status for exchange in seen] == [200]


def test_a_reset_before_the_request_has_no_effect_and_is_repeated(
    store: GcsStore, proxy: FaultProxy, seen: list[Exchange]
) -> None:
    proxy.faults.add("reset", count=1, contains=OBJECTS)
    store.put("tasks/a.json", b"{}", if_generation=ABSENT)
    _seen_all(seen, 1)
    assert [(exchange.status, exchange.delivered) for exchange in seen] == [(200, True)]


@pytest.mark.parametrize("kind", ["lose_answer", "cut_answer"])
def test_a_write_whose_answer_is_lost_looks_like_a_lost_race(
    store: GcsStore, proxy: FaultProxy, seen: list[Exchange], kind: str
) -> None:
    proxy.faults.add(kind, count=1, contains=OBJECTS)  # type: ignore[arg-type]
    with pytest.raises(PreconditionFailed):
        store.put("tasks/a.json", b'{"mine":1}', if_generation=ABSENT)
    _seen_all(seen, 2)
    assert [(exchange.status, exchange.delivered) for exchange in seen] == [(200, False), (412, True)]
    assert store.get("tasks/a.json")[0] == b'{"mine":1}'
    assert b'{"mine":1}' in (seen[0].sent or b"")


def test_a_read_that_is_cut_off_is_repeated(store: GcsStore, proxy: FaultProxy) -> None:
    store.put("tasks/a.json", b"0123456789")
    proxy.faults.add("cut_answer", count=1, contains=OBJECTS)
    assert store.get("tasks/a.json")[0] == b"0123456789"


def test_a_slow_answer_comes_late(store: GcsStore, proxy: FaultProxy) -> None:
    proxy.faults.add("slow", seconds=0.3, count=1, contains=OBJECTS)
    started = time.monotonic()
    store.put("tasks/a.json", b"{}")
    assert time.monotonic() - started >= 0.3


def test_faults_without_end_are_an_outage(store: GcsStore, proxy: FaultProxy) -> None:
    proxy.faults.add("status")
    with pytest.raises(StoreUnavailable):
        store.get("tasks/a.json")


def test_an_address_that_is_no_plain_http_is_refused() -> None:
    with pytest.raises(ValueError, match="not the address of a plain HTTP server"):
        FaultProxy("https://storage.googleapis.com")


@pytest.fixture
def refused() -> list[Mutation]:
    return []


@pytest.fixture
def limited(
    poolhouse_servers: Servers, poolhouse_settings: Settings, refused: list[Mutation], monkeypatch: pytest.MonkeyPatch
) -> Iterator[GcsStore]:
    with FaultProxy(poolhouse_servers.storage_url, write_limits=WriteLimits(on_refused=refused.append)) as proxy:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        yield GcsStore(poolhouse_settings.bucket_name, project="p", timeout_s=5)


def test_under_limits_the_second_write_of_a_name_waits_for_its_second(
    limited: GcsStore, refused: list[Mutation]
) -> None:
    began_s = time.monotonic()
    limited.put("tasks/a.json,claim", b"{}", if_generation=ABSENT)
    limited.put("tasks/a.json", b"{}", if_generation=ABSENT)
    assert refused == []
    limited.put("tasks/a.json", b"{}")
    assert time.monotonic() - began_s >= 1
    assert {mutation.name.partition("/")[2] for mutation in refused} == {"tasks/a.json"}


def test_under_limits_a_failed_precondition_is_no_write_and_a_deletion_is_one(
    limited: GcsStore, refused: list[Mutation]
) -> None:
    limited.put("a", b"{}")
    limited.put("b", b"{}")
    limited.delete("a")  # waits for its second: that of b is over then
    refused.clear()
    with pytest.raises(PreconditionFailed):
        limited.put("b", b"{}", if_generation=ABSENT)
    limited.put("b", b"{}")
    assert refused == []
    limited.upload("a", io.BytesIO(b"x" * (PIECE_BYTES + 1)), content_type="text/plain", size_bytes=PIECE_BYTES + 1)
    assert {mutation.name.partition("/")[2] for mutation in refused} == {"a"}
    assert limited.stat("a").size_bytes == PIECE_BYTES + 1
