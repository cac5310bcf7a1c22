"""What a page shows of a file: never more than text, but for images and PDFs."""

from __future__ import annotations

import io
from collections.abc import Callable

import polars
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolhouse.local.console.files import preview
from poolhouse.local.console.files.bucket import FileInfo
from poolhouse.local.console.files.preview import MOST_CELL, MOST_COLUMNS, MOST_ROWS, Kind, Preview, embedded_type

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


def none_read(most_bytes: int) -> bytes | None:
    raise AssertionError("nothing more needs to be read")


def info(size_bytes: int | None, name: str = "uploads/file", content_type: str = "text/html") -> FileInfo:
    return FileInfo(name=name, size_bytes=size_bytes, content_type=content_type)


def shown(
    data: bytes,
    name: str = "uploads/file",
    *,
    content_type: str = "text/html",
    size_bytes: int | None = None,
    whole: Callable[[int], bytes | None] = none_read,
) -> Preview:
    described = info(len(data) if size_bytes is None else size_bytes, name, content_type)
    return preview.preview(described, data[: preview.HEAD_BYTES], whole=whole)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", Kind.EMPTY),
        (PNG, Kind.IMAGE),
        (b"RIFF1234WEBPVP8 ", Kind.IMAGE),
        (b"%PDF-1.7 <script>", Kind.PDF),
        (b"<svg onload='alert(1)'/>", Kind.TEXT),
        (b"<script>alert(1)</script>", Kind.TEXT),
        (b'{"a": 1}', Kind.JSON),
        (b'{"a": 1', Kind.TEXT),
        (b"[" * 100_000, Kind.TEXT),
        ("Łódź".encode(), Kind.TEXT),
        (b"\xff\xfe", Kind.BYTES),
        (b"text\0", Kind.BYTES),
    ],
)
def test_the_bytes_decide_and_not_what_the_sender_says(data: bytes, kind: Kind) -> None:
    for content_type in ("text/html", "image/svg+xml", "application/pdf", ""):
        assert shown(data, content_type=content_type).kind is kind


def test_nothing_that_could_run_is_given_to_the_browser_as_what_it_is() -> None:
    for data in (
        b"<svg xmlns=",
        b"<html>",
        b"  %PDF-1.7",
        b"<?xml version='1.0'?>",
        b"GIF8<script>",
        b"",
        b"MZ",
        b"\x89PN",
    ):
        assert embedded_type(data) is None


def test_a_large_image_is_left_to_a_download() -> None:
    assert "too large" in shown(PNG, size_bytes=10**9).hint


def test_a_text_is_shown_from_its_beginning() -> None:
    text = "ü" * preview.HEAD_BYTES  # two bytes each: the head ends within one if it begins with another of one byte
    found = shown(b"x" + text.encode())
    assert (found.kind, found.cut) == (Kind.TEXT, True)
    assert found.text == "x" + "ü" * (preview.MOST_CHARACTERS - 1)
    assert not shown(b"short").cut


def test_a_table_is_read_as_its_first_line_separates_it() -> None:
    found = shown(b'name;note\nAda;"a ""b"";\nc"\nGrace\n', "x.CSV").table
    assert found is not None
    assert (found.header, found.rows) == (["name", "note"], [["Ada", 'a "b";\nc'], ["Grace", ""]])
    assert shown(b"a\tb\n1\t2", "x.tsv").kind is Kind.TABLE
    assert shown(b"a,b\n1,2", content_type="text/csv; charset=utf-8").kind is Kind.TABLE


def test_of_a_large_table_rows_columns_and_values_are_left_out() -> None:
    row = ",".join(["x" * 500, *["y"] * 59])
    found = shown("\n".join([row] * 200).encode(), "x.csv")
    assert found.table is not None
    assert (len(found.table.rows), len(found.table.header), found.table.more_columns) == (MOST_ROWS, MOST_COLUMNS, 20)
    assert len(found.table.header[0]) == MOST_CELL + 1
    assert found.cut


@pytest.mark.parametrize(
    ("rows", "cut"), [(MOST_ROWS, False), (MOST_ROWS + 1, True)], ids=["as many as are shown", "one more"]
)
@pytest.mark.parametrize("end", ["", "\n"])
def test_a_table_says_that_it_has_more_rows_only_where_it_has(rows: int, cut: bool, end: str) -> None:
    lines = ["n,text", *(f'{number},"two\nlines"' for number in range(rows))]
    found = shown(("\n".join(lines) + end).encode(), "x.csv")
    assert found.table is not None
    assert (len(found.table.rows), found.cut) == (MOST_ROWS, cut)


def test_what_was_read_tells_whether_there_is_more_where_the_size_is_unknown_or_that_of_compressed_bytes() -> None:
    for size_bytes in (None, 17):
        large = preview.preview(info(size_bytes), b"[1," + b" " * (preview.HEAD_BYTES - 3), whole=none_read)
        assert (large.kind, large.cut) == (Kind.TEXT, True)
        small = preview.preview(info(size_bytes), b"[1]", whole=none_read)
        assert (small.kind, small.cut) == (Kind.JSON, False)


def test_a_parquet_file_is_a_table_where_polars_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    polars.DataFrame({"n": range(150), "name": ["Ada", None] * 75}).write_parquet(file)
    data = file.getvalue()
    found = shown(data, whole=lambda most_bytes: data)
    assert found.table is not None
    assert (found.table.header, found.table.rows[1], len(found.table.rows)) == (["n", "name"], ["1", ""], MOST_ROWS)
    assert found.cut
    assert "too large" in shown(data, whole=lambda most_bytes: None).hint
    assert "can't be read" in shown(b"PAR1" + bytes(50), whole=lambda most_bytes: b"PAR1" + bytes(50)).hint
    monkeypatch.setitem(__import__("sys").modules, "polars", None)
    assert "where polars is installed" in shown(data).hint


@given(st.binary(max_size=3000), st.sampled_from(["a.csv", "b.tsv", "c.json", "d"]))
def test_whatever_is_in_a_file_it_has_a_preview(data: bytes, name: str) -> None:
    found = shown(data, name, whole=lambda most_bytes: data)
    assert found.kind in set(Kind)
    assert len(found.text) <= preview.MOST_CHARACTERS
