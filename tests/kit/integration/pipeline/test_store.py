"""The bucket, on a real storage server."""

from __future__ import annotations

import io
import os
import threading
from collections import Counter

import pytest
import requests

from poolhouse.pipeline import names
from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.errors import BucketMissing, ObjectNotFound, PreconditionFailed, StoreUnavailable
from poolhouse.pipeline.pieces import PIECE_BYTES
from poolhouse.pipeline.store import ABSENT, GcsStore, open_store
from poolhouse.pipeline.tasks.task_id_key import load_task_ids


@pytest.fixture
def store(poolhouse_settings: Settings) -> GcsStore:
    return open_store(poolhouse_settings)


def test_what_is_put_is_read_again_with_its_metadata(store: GcsStore) -> None:
    generation = store.put("tasks/a.json", b"{}", metadata={"status": "queued"})
    data, info = store.get("tasks/a.json")
    assert (data, info.generation, info.size_bytes) == (b"{}", generation, 2)
    assert store.stat("tasks/a.json").metadata == {"status": "queued"}


def test_an_absent_object_is_not_found_and_deleting_it_is_fine(store: GcsStore) -> None:
    for call in (store.get, store.stat, store.open_read):
        with pytest.raises(ObjectNotFound, match="no object nothing"):
            call("nothing")
    store.delete("nothing")


def test_folders_are_listed_in_order_from_a_name_on(store: GcsStore) -> None:
    for name in ("listed/a/1", "listed/a/2", "listed/b/c/1", "listed/c", "listed/d/1"):
        store.put(name, b"{}")
    assert store.folders("listed/", most=10) == ["listed/a/", "listed/b/", "listed/d/"]
    assert store.folders("listed/", most=1) == ["listed/a/"]
    assert store.folders("listed/", most=10, start="listed/a0") == ["listed/b/", "listed/d/"]
    assert store.folders("nothing/", most=10) == []


def test_of_many_who_write_first_one_does(store: GcsStore) -> None:
    outcomes: Counter[str] = Counter()
    lock = threading.Lock()

    def write() -> None:
        try:
            store.put("tasks/race.json", b"{}", if_generation=ABSENT)
            outcome = "won"
        except PreconditionFailed:
            outcome = "lost"
        with lock:
            outcomes[outcome] += 1

    threads = [threading.Thread(target=write) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == {"won": 1, "lost": 11}


def test_a_write_to_an_old_generation_is_refused(store: GcsStore) -> None:
    first = store.put("tasks/a.json", b"1")
    store.put("tasks/a.json", b"2", if_generation=first)
    with pytest.raises(PreconditionFailed):
        store.put("tasks/a.json", b"3", if_generation=first)
    assert store.get("tasks/a.json")[0] == b"2"


def test_a_listing_comes_in_pages_in_the_order_of_names(store: GcsStore) -> None:
    for number in range(5):
        store.put(f"tasks/{number}.json", b"{}", metadata={"status": str(number)})
    store.put("results/x.json", b"{}")
    first = store.list("tasks/", page_size=3)
    second = store.list("tasks/", page_size=3, page_token=first.next_token)
    assert [info.metadata["status"] for info in first.objects + second.objects] == ["0", "1", "2", "3", "4"]
    assert second.next_token is None
    assert store.list("none/").objects == ()


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES, PIECE_BYTES * 2 + 17])
def test_a_stream_of_any_size_is_written_and_read(store: GcsStore, size: int) -> None:
    data = os.urandom(size)
    info = store.upload("uploads/stream", io.BytesIO(data), content_type="application/octet-stream", size_bytes=size)
    assert info.size_bytes == size
    with store.open_read("uploads/stream") as stream:
        assert stream.read() == data
        stream.seek(size // 2)
        assert stream.read(5) == data[size // 2 : size // 2 + 5]


def test_a_client_uploads_to_a_session_without_credentials(store: GcsStore) -> None:
    url = store.upload_session("uploads/ä b.txt", content_type="text/plain", size_bytes=5, origin=None)
    answer = requests.put(url, data=b"hello", headers={"Content-Type": "text/plain"}, timeout=10)
    assert answer.ok
    assert store.get("uploads/ä b.txt")[0] == b"hello"


def test_all_who_ask_for_the_deployments_key_get_the_same(store: GcsStore) -> None:
    keys = []
    threads = [threading.Thread(target=lambda: keys.append(load_task_ids(store).key)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 6
    assert len(set(keys)) == 1
    assert store.stat(names.TASK_ID_KEY).size_bytes == 32


def test_a_bucket_that_does_not_answer_is_unavailable_within_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")
    unreachable = GcsStore("bucket", project="p", timeout_s=0.5)
    with pytest.raises(StoreUnavailable, match=r"tasks/a\.json"):
        unreachable.get("tasks/a.json")
    with pytest.raises(StoreUnavailable):
        unreachable.check()


def test_a_bucket_that_is_not_there_is_distinguished_from_an_object_that_is_not(store: GcsStore) -> None:
    nowhere = GcsStore("no-such-bucket", project="p", timeout_s=5)
    for call in (
        nowhere.check,
        lambda: nowhere.put("a.json", b"{}"),
        lambda: nowhere.upload("a.txt", io.BytesIO(b"a"), content_type="text/plain"),
        lambda: nowhere.upload_session("a.txt", content_type="text/plain", size_bytes=1, origin=None),
    ):
        with pytest.raises(BucketMissing, match="there is no bucket no-such-bucket"):
            call()
    with pytest.raises(ObjectNotFound):
        store.get("tasks/none.json")
