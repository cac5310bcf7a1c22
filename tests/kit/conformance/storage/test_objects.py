"""Metadata, copies, compositions, deletes (Cloud Storage, Objects)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from google.cloud.storage import Bucket

from tests.kit.conformance.storage.targets import Target, read, refused, write


@pytest.mark.needed
def test_times_are_now_and_in_utc(bucket: Bucket) -> None:
    blob = write(bucket)
    assert abs(blob.time_created - datetime.now(UTC)) < timedelta(minutes=1)
    assert blob.updated >= blob.time_created


@pytest.mark.both_deviate("the metageneration is always 1")
def test_metadata_can_be_changed_without_the_data(bucket: Bucket) -> None:
    blob = write(bucket)
    blob.metadata = {"colour": "blue", "size": "xl"}
    blob.cache_control = "no-store"
    blob.patch()
    found = bucket.get_blob("object")
    assert found is not None
    assert (found.metadata, found.cache_control) == ({"colour": "blue", "size": "xl"}, "no-store")
    assert (found.generation, found.metageneration) == (blob.generation, 2)
    assert read(bucket) == b"data"


@pytest.mark.both_deviate("it stays, empty")
def test_a_key_of_metadata_can_be_removed(bucket: Bucket) -> None:
    blob = write(bucket)
    blob.metadata = {"colour": "blue", "size": "xl"}
    blob.patch()
    blob.metadata = {"colour": None, "size": "xl"}
    blob.patch()
    found = bucket.get_blob("object")
    assert found is not None
    assert found.metadata == {"size": "xl"}


@pytest.mark.needed
def test_metadata_may_have_any_text(bucket: Bucket) -> None:
    blob = bucket.blob("object")
    blob.metadata = {"title": "Grüße, 世界"}
    blob.upload_from_string(b"data", retry=None)
    found = bucket.get_blob("object")
    assert found is not None
    assert found.metadata == {"title": "Grüße, 世界"}


def test_a_write_replaces_the_metadata(bucket: Bucket) -> None:
    blob = write(bucket)
    blob.metadata = {"colour": "blue"}
    blob.patch()
    write(bucket)
    found = bucket.get_blob("object")
    assert found is not None
    assert (found.metadata, found.metageneration) == (None, 1)


@pytest.mark.needed
def test_a_deleted_object_is_gone(bucket: Bucket) -> None:
    write(bucket)
    bucket.blob("object").delete()
    assert not bucket.blob("object").exists()
    assert not list(bucket.client.list_blobs(bucket))


def test_a_copy_has_the_data_and_the_metadata(bucket: Bucket) -> None:
    source = bucket.blob("source")
    source.metadata = {"colour": "blue"}
    source.upload_from_string(b"data", content_type="text/plain", retry=None)
    copy = bucket.copy_blob(source, bucket, "folder/copy")
    found = bucket.get_blob("folder/copy")
    assert found is not None
    assert (found.metadata, found.content_type, found.size) == ({"colour": "blue"}, "text/plain", 4)
    assert copy.generation == found.generation
    assert read(bucket, "folder/copy") == read(bucket, "source") == b"data"


def test_an_object_is_copied_to_another_bucket(target: Target, bucket: Bucket) -> None:
    other = target.bucket()
    bucket.copy_blob(write(bucket), other)
    assert read(other) == b"data"


def test_a_rewrite_can_change_the_content_type(bucket: Bucket) -> None:
    source = write(bucket, "source")
    changed = bucket.blob("object")
    changed.content_type = "text/html"
    token, written, total = changed.rewrite(source)
    assert (token, written, total) == (None, 4, 4)
    found = bucket.get_blob("object")
    assert found is not None
    assert found.content_type == "text/html"


def test_an_object_is_renamed(bucket: Bucket) -> None:
    bucket.rename_blob(write(bucket), "renamed")
    assert read(bucket, "renamed") == b"data"
    assert not bucket.blob("object").exists()


@pytest.mark.both_deviate("no such call")
def test_an_object_is_moved_in_one_request(bucket: Bucket) -> None:
    bucket.move_blob(write(bucket), "moved")
    assert read(bucket, "moved") == b"data"
    assert not bucket.blob("object").exists()


def test_a_copy_of_an_absent_object_is_not_found(bucket: Bucket) -> None:
    with refused(404):
        bucket.copy_blob(bucket.blob("absent"), bucket, "copy")


@pytest.mark.both_deviate("the number of parts is not told")
def test_a_composition_has_its_parts_in_order(bucket: Bucket) -> None:
    parts = [write(bucket, str(number), str(number).encode()) for number in range(3)]
    whole = bucket.blob("whole")
    whole.content_type = "text/plain"
    whole.compose(parts)
    assert read(bucket, "whole") == b"012"
    assert bucket.get_blob("whole").component_count == 3


@pytest.mark.both_deviate("500")
def test_a_composition_of_an_absent_part_is_not_found(bucket: Bucket) -> None:
    with refused(404):
        bucket.blob("whole").compose([bucket.blob("absent")])


@pytest.mark.both_deviate("the answer is not that of a batch")
def test_calls_can_be_sent_as_a_batch(bucket: Bucket) -> None:
    blobs = [write(bucket, str(number)) for number in range(3)]
    with bucket.client.batch():
        for blob in blobs:
            blob.delete()
    assert not list(bucket.client.list_blobs(bucket))


@pytest.mark.both_deviate("holds are dropped")
def test_a_hold_keeps_an_object(bucket: Bucket) -> None:
    blob = write(bucket)
    blob.temporary_hold = True
    blob.patch()
    with refused(403):
        blob.delete()
