"""Requests that take effect only if the object is as the client has seen it (Cloud Storage, Request preconditions)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from google.api_core.exceptions import NotFound, PreconditionFailed
from google.cloud.storage import Bucket

from tests.kit.conformance.storage.targets import Target, read, refused, write

ABSENT = 0


@pytest.mark.needed
def test_an_upload_can_ask_that_there_is_no_object(bucket: Bucket) -> None:
    write(bucket, data=b"first", if_generation_match=ABSENT)
    with refused(412):
        write(bucket, data=b"second", if_generation_match=ABSENT)
    assert read(bucket) == b"first"


@pytest.mark.needed
def test_an_upload_can_ask_for_a_generation(bucket: Bucket) -> None:
    first = write(bucket, data=b"first")
    second = write(bucket, data=b"second", if_generation_match=first.generation)
    with refused(412):
        write(bucket, data=b"third", if_generation_match=first.generation)
    assert read(bucket) == b"second"
    assert second.generation > first.generation


@pytest.mark.needed
def test_of_uploads_at_the_same_time_with_one_precondition_one_wins(bucket: Bucket) -> None:
    def attempt(number: int) -> int | None:
        try:
            write(bucket, data=str(number).encode(), if_generation_match=ABSENT)
        except PreconditionFailed:
            return None
        return number

    with ThreadPoolExecutor(8) as pool:
        winners = [number for number in pool.map(attempt, range(24)) if number is not None]
    assert len(winners) == 1
    assert read(bucket) == str(winners[0]).encode()


def test_an_upload_can_ask_that_a_generation_has_gone(bucket: Bucket) -> None:
    first = write(bucket, data=b"first")
    with refused(304, 412):
        write(bucket, data=b"second", if_generation_not_match=first.generation)
    assert read(bucket) == b"first"


@pytest.mark.server_deviates("ignored")
def test_an_upload_can_ask_for_a_metageneration(bucket: Bucket) -> None:
    first = write(bucket, data=b"first")
    with refused(412):
        write(bucket, data=b"second", if_metageneration_match=first.metageneration + 1)
    assert read(bucket) == b"first"


@pytest.mark.server_deviates("ignored")
def test_a_resumable_upload_can_ask_that_there_is_no_object(target: Target, bucket: Bucket) -> None:
    write(bucket, data=b"first")
    with refused(412):
        _session(bucket, if_generation_match=ABSENT)


@pytest.mark.server_deviates("ignored")
def test_a_resumable_upload_asks_once_more_at_its_end(target: Target, bucket: Bucket) -> None:
    session = _session(bucket, if_generation_match=ABSENT)
    write(bucket, data=b"first")
    assert target.http.put(session, data=b"second").status_code == 412
    assert read(bucket) == b"first"
    bucket.blob("object").delete()
    assert target.http.put(_session(bucket, if_generation_match=ABSENT), data=b"third").status_code == 200
    assert read(bucket) == b"third"


@pytest.mark.server_deviates("ignored")
@pytest.mark.needed
def test_a_delete_can_ask_for_a_generation(bucket: Bucket) -> None:
    first = write(bucket)
    second = write(bucket)
    with refused(412):
        bucket.blob("object").delete(if_generation_match=first.generation)
    assert read(bucket) == b"data"
    bucket.blob("object").delete(if_generation_match=second.generation)
    assert not bucket.blob("object").exists()


def test_of_deletes_at_the_same_time_with_one_precondition_one_wins(bucket: Bucket) -> None:
    generation = write(bucket).generation

    def attempt(_: int) -> bool:
        try:
            bucket.blob("object").delete(if_generation_match=generation)
        except (NotFound, PreconditionFailed):
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(24))) == 1


@pytest.mark.server_deviates("ignored")
def test_a_read_can_ask_for_a_generation(bucket: Bucket) -> None:
    first = write(bucket)
    write(bucket)
    with refused(412):
        read(bucket, if_generation_match=first.generation)


@pytest.mark.server_deviates("ignored")
def test_a_read_of_what_is_known_already_is_not_modified(bucket: Bucket) -> None:
    blob = write(bucket)
    with refused(304):
        read(bucket, if_generation_not_match=blob.generation)


@pytest.mark.server_deviates("ignored")
def test_the_metadata_of_an_object_can_be_asked_for_by_generation(bucket: Bucket) -> None:
    first = write(bucket)
    write(bucket)
    with refused(412):
        bucket.blob("object").reload(if_generation_match=first.generation)


@pytest.mark.both_deviate("the metageneration is always 1")
def test_a_change_of_metadata_can_ask_for_a_metageneration(bucket: Bucket) -> None:
    blob = write(bucket)
    blob.metadata = {"colour": "blue"}
    blob.patch(if_metageneration_match=blob.metageneration)
    other = bucket.blob("object")
    other.metadata = {"colour": "red"}
    with refused(412):
        other.patch(if_metageneration_match=1)
    other.reload()
    assert other.metadata == {"colour": "blue"}


@pytest.mark.server_deviates("ignored")
def test_a_change_of_metadata_can_ask_for_a_generation(bucket: Bucket) -> None:
    first = write(bucket)
    write(bucket)
    other = bucket.blob("object")
    other.metadata = {"colour": "red"}
    with refused(412):
        other.patch(if_generation_match=first.generation)
    other.reload()
    assert other.metadata is None


@pytest.mark.server_deviates("ignored")
def test_a_composition_can_ask_that_its_target_is_absent(bucket: Bucket) -> None:
    part = write(bucket, "part")
    write(bucket, data=b"first")
    with refused(412):
        bucket.blob("object").compose([part], if_generation_match=ABSENT)
    assert read(bucket) == b"first"


@pytest.mark.server_deviates("ignored")
def test_a_copy_can_ask_that_its_target_is_absent(bucket: Bucket) -> None:
    source = write(bucket, "source")
    write(bucket, data=b"first")
    with refused(412):
        bucket.copy_blob(source, bucket, "object", if_generation_match=ABSENT)
    assert read(bucket) == b"first"


@pytest.mark.server_deviates("ignored")
def test_a_rewrite_can_ask_that_its_target_is_absent(bucket: Bucket) -> None:
    source = write(bucket, "source")
    write(bucket, data=b"first")
    with refused(412):
        bucket.blob("object").rewrite(source, if_generation_match=ABSENT)
    assert read(bucket) == b"first"


@pytest.mark.server_deviates("ignored")
def test_a_copy_can_ask_for_a_generation_of_its_source(bucket: Bucket) -> None:
    first = write(bucket, "source")
    write(bucket, "source")
    with refused(412):
        bucket.copy_blob(first, bucket, "copy", if_source_generation_match=first.generation)
    assert not bucket.blob("copy").exists()


def _session(bucket: Bucket, *, if_generation_match: int) -> str:
    """Open an upload session; return its address."""
    blob = bucket.blob("object")
    return str(blob.create_resumable_upload_session(if_generation_match=if_generation_match, retry=None))
