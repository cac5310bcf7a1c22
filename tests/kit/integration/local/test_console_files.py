"""The console's files on a real storage server."""

from __future__ import annotations

import os

import pytest

from poolhouse.local.console.files.bucket import PAGE, LocalBucket
from poolhouse.local.errors import StackError
from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.errors import ObjectNotFound
from poolhouse.pipeline.store import open_store


@pytest.fixture
def bucket(poolhouse_settings: Settings) -> LocalBucket:
    return LocalBucket(os.environ["STORAGE_EMULATOR_HOST"], poolhouse_settings.bucket_name)


def test_folders_are_listed_page_by_page_and_nothing_twice(bucket: LocalBucket, poolhouse_settings: Settings) -> None:
    store = open_store(poolhouse_settings)
    wanted = [f"uploads/many/{number:03}.txt" for number in range(PAGE + 5)]
    for name in (*wanted, "uploads/many/below/a.txt"):
        store.put(name, b"data", content_type="text/plain")
    folders: list[str] = []
    files: list[str] = []
    token: str | None = None
    while True:
        page = bucket.folder("uploads/many/", page_token=token)
        folders += page.folders
        files += [file.name for file in page.files]
        token = page.next_page_token
        if token is None:
            break
    assert sorted(set(folders)) == ["uploads/many/below/"]
    assert files == wanted


def test_a_file_is_read_with_what_is_known_of_it(bucket: LocalBucket, poolhouse_settings: Settings) -> None:
    name = 'uploads/a "b"/é?&#%2e.csv'
    open_store(poolhouse_settings).put(name, b"x" * 1_000_000, content_type="text/csv")
    with bucket.open(name) as opened:
        assert (opened.info.name, opened.info.size_bytes, opened.info.content_type) == (name, 1_000_000, "text/csv")
        assert opened.info.updated_at is not None
        assert opened.head(10) == b"x" * 10
    with bucket.open(name) as opened:
        assert b"".join(opened.pieces) == b"x" * 1_000_000


def test_what_is_not_there_is_not_found(bucket: LocalBucket) -> None:
    with pytest.raises(ObjectNotFound, match="uploads/none"), bucket.open("uploads/none"):
        pass
    assert bucket.folder("none/", page_token=None).files == ()
    with pytest.raises(StackError, match="does not answer"):
        LocalBucket("http://127.0.0.1:9", "b").folder("", page_token=None)
