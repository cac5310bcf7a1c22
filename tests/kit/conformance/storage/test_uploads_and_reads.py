"""Uploads in one request and in several, reads of all and of parts (Cloud Storage, Uploads and downloads)."""

from __future__ import annotations

import base64
import gzip
import io
import json

import google_crc32c
import pytest
from google.cloud.storage import Bucket

from tests.kit.conformance.storage.targets import Target, read, refused, write

#: A chunk of a resumable upload is a multiple of this.
CHUNK_BYTES = 256 * 1024
LARGE = bytes(range(256)) * 3000


@pytest.mark.needed
def test_what_was_written_is_read(bucket: Bucket) -> None:
    blob = write(bucket, data=b"data")
    assert read(bucket) == b"data"
    assert (blob.size, blob.content_type, blob.metageneration) == (4, "text/plain", 1)


@pytest.mark.needed
def test_a_read_tells_what_it_has_read(target: Target, bucket: Bucket) -> None:
    blob = bucket.blob("object")
    blob.metadata = {"status": "queued"}
    blob.upload_from_string(b"data", content_type="text/plain", retry=None)
    headers = target.http.get(f"{target.objects(bucket)}/object", params={"alt": "media"}).headers
    assert headers["x-goog-generation"] == str(blob.generation)
    assert headers["x-goog-meta-status"] == "queued"
    assert headers["content-type"] == "text/plain"
    assert f"crc32c={blob.crc32c}" in headers["x-goog-hash"]


@pytest.mark.needed
def test_an_empty_object_is_one(bucket: Bucket) -> None:
    assert write(bucket, data=b"").size == 0
    assert read(bucket) == b""


@pytest.mark.needed
def test_each_write_has_a_higher_generation(bucket: Bucket) -> None:
    generations = [write(bucket).generation for _ in range(5)]
    assert generations == sorted(set(generations))


@pytest.mark.needed
def test_an_absent_object_is_not_found(bucket: Bucket) -> None:
    with refused(404):
        read(bucket)
    with refused(404):
        bucket.blob("object").delete()
    assert bucket.get_blob("object") is None


@pytest.mark.needed
def test_an_absent_bucket_is_not_found(target: Target) -> None:
    absent = target.client.bucket("conformance-absent")
    with refused(404):
        write(absent)
    with refused(404):
        read(absent)
    with refused(404):
        list(target.client.list_blobs(absent))


@pytest.mark.needed
def test_checksums_are_those_of_the_data(bucket: Bucket) -> None:
    blob = write(bucket, data=LARGE)
    assert blob.crc32c == base64.b64encode(google_crc32c.Checksum(LARGE).digest()).decode()
    assert bucket.blob("object").download_as_bytes(checksum="crc32c", retry=None) == LARGE
    assert bucket.blob("object").download_as_bytes(checksum="md5", retry=None) == LARGE


@pytest.mark.both_deviate("checksums that a client declares are not checked")
@pytest.mark.parametrize("checksum", ["md5Hash", "crc32c"])
def test_an_upload_whose_checksum_is_wrong_is_refused(target: Target, bucket: Bucket, checksum: str) -> None:
    wrong = base64.b64encode(bytes(16 if checksum == "md5Hash" else 4)).decode()
    properties = json.dumps({"name": "object", checksum: wrong})
    body = (
        f"--x\r\nContent-Type: application/json\r\n\r\n{properties}\r\n"
        "--x\r\nContent-Type: text/plain\r\n\r\ndata\r\n--x--\r\n"
    )
    answer = target.http.post(
        target.uploads(bucket),
        params={"uploadType": "multipart"},
        headers={"Content-Type": 'multipart/related; boundary="x"'},
        data=body.encode(),
    )
    assert answer.status_code == 400
    assert not bucket.blob("object").exists()


@pytest.mark.needed
def test_an_upload_with_metadata_is_one_request(target: Target, bucket: Bucket) -> None:
    blob = bucket.blob("object")
    blob.metadata = {"status": "queued"}
    blob.upload_from_string(b"{}", content_type="application/json", retry=None)
    found = bucket.get_blob("object")
    assert found is not None
    assert (found.metadata, found.content_type, found.metageneration) == ({"status": "queued"}, "application/json", 1)


@pytest.mark.needed
def test_a_media_upload_names_its_object_in_the_query(target: Target, bucket: Bucket) -> None:
    answer = target.http.post(
        target.uploads(bucket),
        params={"uploadType": "media", "name": "a b/ü.txt"},
        headers={"Content-Type": "text/plain"},
        data=b"data",
    )
    assert answer.status_code == 200
    assert read(bucket, "a b/ü.txt") == b"data"


@pytest.mark.needed
def test_a_stream_is_uploaded_in_chunks(bucket: Bucket) -> None:
    blob = bucket.blob("object", chunk_size=CHUNK_BYTES)
    blob.upload_from_file(io.BytesIO(LARGE), size=None, content_type="application/octet-stream", retry=None)
    assert read(bucket) == LARGE


@pytest.mark.needed
def test_an_object_is_there_when_its_upload_is_complete_and_no_sooner(target: Target, bucket: Bucket) -> None:
    session = bucket.blob("object").create_resumable_upload_session(content_type="text/plain", retry=None)
    total = 2 * CHUNK_BYTES
    part = {"Content-Range": f"bytes 0-{CHUNK_BYTES - 1}/{total}"}
    assert target.http.put(session, data=LARGE[:CHUNK_BYTES], headers=part).status_code == 308
    assert not bucket.blob("object").exists()
    rest = {"Content-Range": f"bytes {CHUNK_BYTES}-{total - 1}/{total}"}
    assert target.http.put(session, data=LARGE[CHUNK_BYTES:total], headers=rest).status_code == 200
    assert read(bucket) == LARGE[:total]


@pytest.mark.needed
def test_an_upload_session_takes_all_in_one_request(target: Target, bucket: Bucket) -> None:
    session = bucket.blob("object").create_resumable_upload_session(content_type="text/plain", retry=None)
    assert target.http.put(session, data=b"data").status_code == 200
    assert read(bucket) == b"data"


@pytest.mark.both_deviate("the question completes the upload with what has come")
def test_an_interrupted_upload_says_how_much_it_has(target: Target, bucket: Bucket) -> None:
    session = bucket.blob("object").create_resumable_upload_session(content_type="text/plain", retry=None)
    total = 2 * CHUNK_BYTES
    part = {"Content-Range": f"bytes 0-{CHUNK_BYTES - 1}/{total}"}
    target.http.put(session, data=LARGE[:CHUNK_BYTES], headers=part)
    status = target.http.put(session, headers={"Content-Range": f"bytes */{total}"})
    assert (status.status_code, status.headers.get("Range")) == (308, f"bytes=0-{CHUNK_BYTES - 1}")
    rest = {"Content-Range": f"bytes {CHUNK_BYTES}-{total - 1}/{total}"}
    target.http.put(session, data=LARGE[CHUNK_BYTES:total], headers=rest)
    assert read(bucket) == LARGE[:total]


@pytest.mark.both_deviate("it goes on taking bytes")
def test_an_upload_session_can_be_cancelled(target: Target, bucket: Bucket) -> None:
    session = bucket.blob("object").create_resumable_upload_session(content_type="text/plain", retry=None)
    assert target.http.delete(session).status_code == 499
    assert target.http.put(session, data=b"data").status_code in {404, 410, 499}
    assert not bucket.blob("object").exists()


@pytest.mark.needed
@pytest.mark.parametrize(("start", "end"), [(0, 9), (100, 199), (len(LARGE) - 5, len(LARGE) + 100)])
def test_a_part_of_an_object_is_read(bucket: Bucket, start: int, end: int) -> None:
    write(bucket, data=LARGE)
    assert read(bucket, start=start, end=end) == LARGE[start : end + 1]


@pytest.mark.needed
def test_the_end_of_an_object_is_read(bucket: Bucket) -> None:
    write(bucket, data=LARGE)
    assert read(bucket, start=len(LARGE) - 10) == LARGE[-10:]
    assert read(bucket, start=-10) == LARGE[-10:]


def test_a_range_behind_the_end_is_refused(bucket: Bucket) -> None:
    write(bucket, data=b"data")
    with refused(416):
        read(bucket, start=100)


@pytest.mark.needed
def test_a_stream_reads_an_object_in_pieces(bucket: Bucket) -> None:
    write(bucket, data=LARGE)
    with bucket.blob("object").open("rb", chunk_size=CHUNK_BYTES) as stream:
        assert stream.read() == LARGE
        stream.seek(1000)
        assert stream.read(10) == LARGE[1000:1010]


@pytest.mark.needed
def test_a_read_of_a_generation_that_was_replaced_is_not_found(bucket: Bucket) -> None:
    first = write(bucket, data=b"first")
    write(bucket, data=b"second")
    with refused(404):
        bucket.blob("object", generation=first.generation).download_as_bytes(checksum=None, retry=None)


def test_an_object_written_with_gzip_is_read_as_what_it_holds(bucket: Bucket) -> None:
    blob = bucket.blob("object")
    blob.content_encoding = "gzip"
    blob.upload_from_string(gzip.compress(b"data"), content_type="text/plain", retry=None)
    assert read(bucket) == b"data"
    assert gzip.decompress(read(bucket, raw_download=True)) == b"data"
