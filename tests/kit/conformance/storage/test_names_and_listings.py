"""Names of objects, and listings (Cloud Storage, Object naming; Listing objects)."""

from __future__ import annotations

import pytest
from google.cloud.storage import Bucket

from tests.kit.conformance.storage.targets import Target, names, read, refused, write

ODD = [
    "with space",
    "ü/世界.txt",
    "a+b&c=d",
    "100%",
    "question?",
    "hash#",
    "semi;colon",
    "com,ma",
    "'quotes\"",
    "x" * 200,
]


@pytest.mark.needed
@pytest.mark.parametrize("name", ODD)
def test_an_odd_name_is_a_name(bucket: Bucket, name: str) -> None:
    write(bucket, name)
    assert read(bucket, name) == b"data"
    assert names(bucket) == [name]
    bucket.blob(name).delete()
    assert names(bucket) == []


@pytest.mark.both_deviate("taken for another name; behind the proxy refused")
@pytest.mark.parametrize("name", ["a//b", "/a", "a/", "./a"])
def test_empty_and_dotted_segments_are_part_of_a_name(bucket: Bucket, name: str) -> None:
    write(bucket, name)
    assert read(bucket, name) == b"data"
    assert names(bucket) == [name]


@pytest.mark.server_deviates("another object, or a file outside of the bucket, is written")
@pytest.mark.needed
@pytest.mark.parametrize("name", ["../escaped", "a/../../escaped", "a/../b"])
def test_two_dots_in_a_name_reach_no_other_object(target: Target, bucket: Bucket, name: str) -> None:
    """Cloud Storage takes such names as any others; a server that keeps objects as files may refuse them."""
    write(bucket, "b", b"other")
    answer = target.http.post(target.uploads(bucket), params={"uploadType": "media", "name": name}, data=b"data")
    assert answer.status_code in {200, 400}
    assert read(bucket, "b") == b"other"
    expected = {"b", name} if answer.status_code == 200 else {"b"}
    assert set(names(bucket)) == expected


@pytest.mark.both_deviate("500: a file can't be a folder")
def test_an_object_may_be_named_like_the_folder_of_another(bucket: Bucket) -> None:
    write(bucket, "a", b"file")
    write(bucket, "a/b", b"below")
    assert (read(bucket, "a"), read(bucket, "a/b")) == (b"file", b"below")


@pytest.mark.server_deviates("longer names are taken")
def test_a_name_of_1024_bytes_is_taken_and_a_longer_one_is_not(bucket: Bucket) -> None:
    longest = "/".join(["x" * 200] * 5) + "/" + "x" * 19
    assert len(longest) == 1024
    write(bucket, longest)
    with refused(400):
        write(bucket, longest + "x")


@pytest.mark.both_deviate("at most 255 bytes")
def test_a_segment_may_be_longer_than_a_file_name(bucket: Bucket) -> None:
    write(bucket, "x" * 300)
    assert names(bucket) == ["x" * 300]


@pytest.mark.needed
def test_a_listing_is_in_the_order_of_the_names(bucket: Bucket) -> None:
    written = ("b", "a/b", "a,b", "B", "a0", "ü")
    for name in written:
        write(bucket, name)
    assert names(bucket) == sorted(written)


@pytest.mark.needed
def test_a_listing_has_the_names_with_a_prefix(bucket: Bucket) -> None:
    for name in ("tasks/1", "tasks/2", "task", "timers/1"):
        write(bucket, name)
    assert names(bucket, prefix="tasks/") == ["tasks/1", "tasks/2"]
    assert names(bucket, prefix="ta") == ["task", "tasks/1", "tasks/2"]
    assert names(bucket, prefix="absent/") == []


@pytest.mark.needed
def test_a_listing_comes_in_pages(bucket: Bucket) -> None:
    for number in range(7):
        write(bucket, f"object-{number}")
    pages = bucket.client.list_blobs(bucket, page_size=3).pages
    assert [[blob.name for blob in page] for page in pages] == [
        ["object-0", "object-1", "object-2"],
        ["object-3", "object-4", "object-5"],
        ["object-6"],
    ]


@pytest.mark.needed
def test_a_page_goes_on_behind_the_one_before_whatever_is_deleted_meanwhile(target: Target, bucket: Bucket) -> None:
    for number in range(4):
        write(bucket, f"object-{number}")
    first = target.http.get(target.objects(bucket), params={"maxResults": 2}).json()
    bucket.blob("object-1").delete()
    bucket.blob("object-2").delete()
    second = target.http.get(
        target.objects(bucket), params={"maxResults": 2, "pageToken": first["nextPageToken"]}
    ).json()
    assert [item["name"] for item in second["items"]] == ["object-3"]
    assert "nextPageToken" not in second


@pytest.mark.both_deviate("any text is taken for the name to go on behind")
def test_a_page_token_that_is_none_is_refused(target: Target, bucket: Bucket) -> None:
    write(bucket)
    answer = target.http.get(target.objects(bucket), params={"pageToken": "none"})
    assert answer.status_code == 400


@pytest.mark.needed
def test_a_listing_begins_and_ends_at_a_name(bucket: Bucket) -> None:
    for name in "abcd":
        write(bucket, name)
    assert names(bucket, start_offset="b") == ["b", "c", "d"]
    assert names(bucket, start_offset="b", end_offset="d") == ["b", "c"]


def test_a_delimiter_makes_folders_of_a_listing(bucket: Bucket) -> None:
    for name in ("a", "f/1", "f/2", "g/h/1"):
        write(bucket, name)
    found = bucket.client.list_blobs(bucket, delimiter="/")
    assert [blob.name for blob in found] == ["a"]
    assert found.prefixes == {"f/", "g/"}
    below = bucket.client.list_blobs(bucket, prefix="g/", delimiter="/")
    assert [blob.name for blob in below] == []
    assert below.prefixes == {"g/h/"}


@pytest.mark.needed
def test_folders_begin_at_a_name(target: Target, bucket: Bucket) -> None:
    for name in ("a/1", "b/1", "c/1"):
        write(bucket, name)
    page = target.http.get(target.objects(bucket), params={"delimiter": "/", "startOffset": "b/"}).json()
    assert page["prefixes"] == ["b/", "c/"]


@pytest.mark.both_deviate("only objects count")
def test_folders_count_for_the_size_of_a_page(target: Target, bucket: Bucket) -> None:
    for name in ("a/1", "b/1", "c/1"):
        write(bucket, name)
    page = target.http.get(target.objects(bucket), params={"delimiter": "/", "maxResults": 2}).json()
    assert page["prefixes"] == ["a/", "b/"]
    assert page.get("nextPageToken")


@pytest.mark.both_deviate("ignored: all names come")
def test_a_pattern_selects_names(bucket: Bucket) -> None:
    for name in ("a.txt", "b.csv", "f/c.txt"):
        write(bucket, name)
    assert names(bucket, match_glob="**.txt") == ["a.txt", "f/c.txt"]


@pytest.mark.both_deviate("ignored: all fields come")
def test_fields_can_be_chosen(bucket: Bucket) -> None:
    write(bucket)
    [found] = bucket.client.list_blobs(bucket, fields="items(name,generation),nextPageToken")
    assert found.generation is not None
    assert found.size is None
