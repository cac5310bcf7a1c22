"""GET /files/{name}: whole files and parts of them, and names that lead elsewhere."""

from __future__ import annotations

import pytest

from poolhouse.api.ranges import Part, Unsatisfiable, part
from tests.kit.unit.api.conftest import Api

DATA = bytes(range(256)) * 10


@pytest.fixture
def file(api: Api) -> str:
    api.store.put("uploads/a/data 1.bin", DATA, content_type="text/csv")
    return "/files/a/data%201.bin"


def test_the_whole_file_comes_with_its_type_and_version(api: Api, file: str) -> None:
    answer = api.client.get(file)
    assert (answer.status_code, answer.content) == (200, DATA)
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["content-length"] == str(len(DATA))
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''data%201.bin"
    assert answer.headers["etag"].startswith('"')
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [("bytes=0-0", 0, 1), ("bytes=5-9", 5, 10), ("bytes=2550-", 2550, 2560), ("bytes=-10", 2550, 2560),
     ("bytes=0-99999", 0, 2560), ("bytes=-99999", 0, 2560), ("Bytes=1-2", 1, 3)],
)  # fmt: skip
def test_a_range_is_answered_with_its_bytes(api: Api, file: str, header: str, start: int, end: int) -> None:
    answer = api.client.get(file, headers={"Range": header})
    assert (answer.status_code, answer.content) == (206, DATA[start:end])
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/2560"
    assert answer.headers["content-length"] == str(end - start)


@pytest.mark.parametrize("header", ["bytes=2560-", "bytes=9999-99999", "bytes=-0"])
def test_a_range_behind_the_end_is_refused_with_the_size(api: Api, file: str, header: str) -> None:
    answer = api.client.get(file, headers={"Range": header})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == "bytes */2560"
    assert answer.json()["error"]


@pytest.mark.parametrize(
    "header", ["bytes=", "bytes=-", "bytes=9-5", "bytes=0-1,5-6", "rows=0-1", "bytes=a-b", f"bytes={'9' * 5000}-", "x"]
)
def test_a_range_that_is_none_gets_the_whole_file(api: Api, file: str, header: str) -> None:
    answer = api.client.get(file, headers={"Range": header})
    assert (answer.status_code, answer.content) == (200, DATA)


def test_if_range_holds_for_one_version_alone(api: Api, file: str) -> None:
    etag = api.client.get(file).headers["etag"]
    half = {"Range": "bytes=0-9", "If-Range": etag}
    assert api.client.get(file, headers=half).status_code == 206
    api.store.put("uploads/a/data 1.bin", DATA[::-1])
    answer = api.client.get(file, headers=half)
    assert (answer.status_code, answer.content) == (200, DATA[::-1])
    assert answer.headers["etag"] != etag


def test_a_version_that_is_known_is_not_sent_again(api: Api, file: str) -> None:
    etag = api.client.get(file).headers["etag"]
    for header in (etag, f'W/{etag}, "other"', "*"):
        assert api.client.get(file, headers={"If-None-Match": header}).status_code == 304
    assert api.client.get(file, headers={"If-None-Match": '"other"'}).status_code == 200


def test_an_empty_file_is_a_file(api: Api) -> None:
    api.store.put("uploads/empty", b"")
    answer = api.client.get("/files/empty")
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "0")
    assert api.client.get("/files/empty", headers={"Range": "bytes=0-"}).status_code == 416


def test_what_a_task_made_is_in_a_folder_of_its_own(api: Api) -> None:
    api.store.put("processed/x", b"made")
    assert api.client.get("/files/x").status_code == 404
    assert api.client.get("/files/x", params={"folder": "processed"}).content == b"made"
    assert api.client.get("/files/x", params={"folder": "tasks"}).status_code == 422


@pytest.mark.parametrize(
    "name",
    ["..%2Ftasks%2Fid.json", "%2e%2e/tasks/id.json", "a/%2E%2E/b", "a//b", "/a", "a/", "a%5Cb", "a%00b", "a%0Ab",
     "%2Fetc%2Fpasswd", ".", "%2e", "a%E2%80%A8b", "x" * 3000, ""],
)  # fmt: skip
def test_hostile_names_are_refused(api: Api, name: str) -> None:
    api.store.put("tasks/id.json", b"secret")
    answer = api.client.get(f"/files/{name}")
    assert answer.status_code in {404, 405, 422}, answer.text
    assert b"secret" not in answer.content
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_file_that_is_replaced_while_it_is_opened_comes_in_its_new_version(
    api: Api, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, looks = api.store.stat, []

    def replaced_after_the_first_look(name: str) -> object:
        info = look(name)
        looks.append(info)
        if len(looks) == 1:
            api.store.put(name, b"newer")
        return info

    monkeypatch.setattr(api.store, "stat", replaced_after_the_first_look)
    answer = api.client.get(file)
    assert (answer.status_code, answer.content) == (200, b"newer")
    assert len(looks) == 2


def test_no_part_is_ever_outside_of_the_file() -> None:
    for size in range(4):
        for first in ("", "0", "1", "3", "9"):
            for last in ("", "0", "1", "3", "9"):
                try:
                    found = part(f"bytes={first}-{last}", size_bytes=size)
                except Unsatisfiable:
                    continue
                assert found is None or (found.length > 0 and found.start + found.length <= size), (size, first, last)
    assert part(None, size_bytes=5) is None
    assert part("bytes=1-", size_bytes=5) == Part(1, 4)
