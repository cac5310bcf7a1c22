"""Broken and hostile files: each fails for good, with a reason that says where."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import threading
import time
import zipfile
import zlib
from typing import Any

import polars as pl
import psutil
import pytest
import zstandard
from PIL import Image
from pydantic import ValidationError

from poolhouse.pipeline.errors import StoreUnavailable
from poolhouse.testing.doubles import FakeContext, MemoryStore
from poolhouse.worker.errors import Reject, TaskCancelled
from tests.unit.handlers.desk import Desk
from tests.unit.handlers.test_files import pdf, png
from worker.handlers.data_transformation import data_transformation
from worker.handlers.file_processing import file_processing
from worker.transforms.data import limits
from worker.transforms.data.contract import DataTransformation
from worker.transforms.files.contract import FileProcessing
from worker.transforms.tables import blocks

MIB = 1024 * 1024
GOOD = "a,b\n1,x\n2,y\n"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"a,b\n", "no rows"),
        (b"\n\n", "empty"),
        (b"a,b\n1,x\n2,y,z\n", r"line 3: the row has 3 fields, the header 2"),
        (b"a,b\n1,x\n2\n3,z\n", r"line 3: the row has 1 fields, the header 2"),
        (b"a,b\nx,1\ny\nz,2\n", r"line 3: the row has 1 fields, the header 2"),
        (b'a,b\n1,"x\ny"\n2\n', r"line 4: the row has 1 fields"),
        (b'a,b\n1,""\n2\n', r"line 3: the row has 1 fields"),
        (b'a,b\n1,"x"y\n', r"line 2: a quote stands in the middle of a field"),
        (
            b"a,b\n" + b'1,"x"\n' * 10_000 + b'1,"x"y\n' + b"2,z\n" * 10,
            r"line 10002: a quote stands in the middle of a field",
        ),
        (b"a,b,c\n1,x,\n2,\n3,y,\n", r"line 3: the row has 2 fields, the header 3"),
        (b"a,b,c\n1,x,\n2,y\n3,z,\n", r"line 3: the row has 2 fields, the header 3"),
        (b'a,b,c\n1,"x,\n",\n2,y\n3,z,\n', r"line 4: the row has 2 fields, the header 3"),
        (b'a,b,c\n1,"x,",\n2,y\n3,"z,",""\n', r"line 3: the row has 2 fields, the header 3"),
        (b"a,b,c\r\n1,x,\r\n2,y\r\n", r"line 3: the row has 2 fields, the header 3"),
        (b"a,b\r1,x\r2,y\r", r"line 1: carriage returns alone \(as on old Macs\) end no line"),
        (b"a,a\n1,2\n", r"line 1: the header has the column 'a' twice"),
        (b"a,b\n1,x\n2,\xff\n", r"line 3: byte 3 of the row is not UTF-8"),
        (b"\xff,b\n1,x\n", r"line 1: byte 1 of the row is not UTF-8"),
        ("a,b\n1,x\n".encode("utf-16"), r"t.csv is in UTF-16: save it as UTF-8"),
        (b"a,b\n" + b"1,x\n" * 100_000 + b"2\n" + b"1,x\n" * 100, r"line 100002: the row has 1 fields"),
        (
            b"a,b,c\n" + b"1,x,p\n" * 20_000 + b'2,"x,\ny"',
            r"line 20002: the row has 2 fields, the header 3",
        ),
        (b"a,b\n" + b"1,x\n\n" * 600_000 + b"2\n", r"line 1200002: the row has 1 fields"),
        (b"a,b\n" + b"\n" * 3_000_000 + b"2,\xff\n", r"line 3000002: byte 3 of the row is not UTF-8"),
        (b"PAR1 but not really", "Parquet"),
        (b"\x1f\x8b\x08 broken", "gzip data is broken"),
        (gzip.compress(GOOD.encode() * 1000, mtime=0)[:-20], "gzip data is broken"),
    ],
)
def test_broken_tables_fail_for_good_with_the_line_named(desk: Desk, data: bytes, reason: str) -> None:
    desk.upload("t.csv", data)
    with pytest.raises(Reject, match=reason):
        desk.transform("normalize", source="t.csv")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"a": 1}\n{"a": \n', r"line 2: not JSON: Expecting value at character 7"),
        (b'{"a": 1}\nnull\n', r"line 2: null is no JSON object"),
        (
            b'{"a": 1}\n{"a": ' + b"9" * 5_000 + b"}\n",
            r"line 2: 'a' holds a number of too many digits: write it as text",
        ),
        (b'{"a": 1}\n[1, 2]\n', r"line 2: \[1, 2\] is no JSON object"),
        (b'{"a": 1}\n' * 200_000 + b"oops\n", r"line 200001: not JSON"),
        (b"".join(b'{"k%d": 1}\n' % n for n in range(20_000)), r"line 1 and following: 20000 different keys in"),
        (
            b"".join(b'{"a": {"k%d": 1}}\n' % (n % 300) for n in range(20_000)),
            r"line 1 and following: 301 different keys",
        ),
        (
            b'{"a": [1]}\n' * 500_000 + b'{"a": {"b": 1}}\n',
            r"line 500001: 'a' holds objects where earlier lines have lists",
        ),
        (b'{"a": [1]}\n' * 500_000 + b'{"a": {"b": 1}}\n' * 500_000, r"line 500001: 'a' holds objects"),
    ],
)
def test_broken_ndjson_fails_for_good_with_the_line_named(desk: Desk, data: bytes, reason: str) -> None:
    desk.upload("t.ndjson", data)
    with pytest.raises(Reject, match=reason):
        desk.transform("deduplicate", source="t.ndjson")


@pytest.mark.parametrize(
    ("transformation", "reason"),
    [
        ({"name": "normalize", "columns": ["c"]}, r"normalize: there is no column 'c'; the columns are 'a', 'b'"),
        ({"name": "normalize", "columns": ["b"]}, r"normalize: column 'b' holds no numbers"),
        ({"name": "sort", "by": ["nope"]}, r"sort: there is no column 'nope'"),
        ({"name": "deduplicate", "columns": ["nope"]}, r"deduplicate: there is no column 'nope'"),
        ({"name": "aggregation", "group_by": ["nope"]}, r"aggregation: there is no column 'nope'"),
        (
            {"name": "aggregation", "aggregates": {"m": {"function": "mean", "column": "b"}}},
            r"aggregation: column 'b' holds no numbers",
        ),
        ({"name": "cast", "columns": {"b": "int64"}}, r"cast: row 1: 'x' in column 'b' is no int64"),
        ({"name": "cast", "columns": {"a": "date"}}, r"cast: a column of type int64 can't become date"),
        ({"name": "filter", "where": "nope = 1"}, r"filter: at character 1: there is no column 'nope'"),
        ({"name": "filter", "where": "a = 'x'"}, r"a number can't be compared with a text"),
        ({"name": "filter", "where": "a and b = 'x'"}, r"column 'a' is of type number, not boolean"),
        ({"name": "filter", "where": "lower(a) = 'x'"}, r"column 'a' is of type number, not text"),
        ({"name": "filter", "where": "a > 99999999999999999999"}, r"does not fit into 64 bits"),
    ],
)
def test_steps_that_do_not_fit_the_table_fail_for_good(desk: Desk, transformation: Any, reason: str) -> None:
    desk.upload("t.csv", GOOD)
    with pytest.raises(Reject, match=reason):
        desk.transform(transformation, source="t.csv")


def test_a_number_column_that_holds_one_text_far_below_says_where(desk: Desk) -> None:
    desk.upload("t.csv", "a,b\n" + "1,x\n" * 1_500_000 + "oops,x\n" + "2,y\n" * 10)
    with pytest.raises(Reject, match=r"column 'a' holds no numbers but String: line 1500002 holds 'oops'"):
        desk.transform({"name": "normalize", "columns": ["a"]}, source="t.csv")


def test_integers_that_turn_to_fractions_far_below_are_floats(desk: Desk) -> None:
    desk.upload("t.csv", "a,b\n" + "1,\n" * 1_500_000 + "2.5,7\n")
    table = desk.process("t.csv", "inspect").table
    assert table is not None
    assert table.types == {"a": "float64", "b": "int64"}
    assert (table.rows, table.max["a"], table.null_counts["b"]) == (1_500_001, 2.5, 1_500_000)


def test_infinite_values_are_refused_where_they_would_spoil_all_others(desk: Desk) -> None:
    desk.upload("t.csv", "a,b\n1,1\ninf,2\n3,3\n")
    with pytest.raises(Reject, match=r"normalize: column 'a' has 1 values that are NaN or infinite"):
        desk.transform("normalize", source="t.csv")


def test_blank_lines_are_no_rows(desk: Desk) -> None:
    desk.upload("t.csv", "a,b\n1,x\n\n2,y\n\r\n\n")
    table = desk.process("t.csv", "inspect").table
    assert table is not None
    assert (table.rows, table.null_counts) == (2, {"a": 0, "b": 0})


def test_empty_and_missing_texts_are_distinguished(desk: Desk) -> None:
    desk.upload("t.csv", 'a,b,c\n1,"",x\n2,,y\n3,z,\n')
    report = desk.process("t.csv", "inspect", {"name": "convert", "to": "csv"})
    assert report.table is not None
    assert report.table.null_counts == {"a": 0, "b": 1, "c": 1}
    assert desk.read("processed/t.csv.csv").decode() == 'a,b,c\n1,"",x\n2,,y\n3,z,\n'


def _peak_rss(function: Any) -> int:
    """How much the process grew at most while a function ran, in bytes."""
    process, ended = psutil.Process(), threading.Event()
    before = peak = process.memory_info().rss

    def watch() -> None:
        nonlocal peak
        while not ended.wait(0.01):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        function()
    finally:
        ended.set()
        watcher.join()
    return peak - before


@pytest.mark.parametrize("start", [b"a,b\n1,x\n2,", b'a,b\n1,x\n2,"'], ids=["bare", "quote not closed"])
def test_a_csv_of_one_endless_line_is_refused_in_bounded_memory(desk: Desk, start: bytes) -> None:
    packed = zstandard.ZstdCompressor().compress(start + b"x" * (500 * MIB))
    # Compressed so well that the bomb's limit would stop it first: let the line be what is wrong.
    desk.upload("t.csv.zst", packed + zstandard.compress(_noise(3 * MIB)))

    def run() -> None:
        with pytest.raises(Reject, match=r"line 3: a row is longer than 16 MiB"):
            desk.transform("normalize", source="t.csv.zst")

    assert _peak_rss(run) < 200 * MIB


def _noise(size_bytes: int) -> bytes:
    import random

    return random.Random(1).randbytes(size_bytes)


@pytest.mark.parametrize("kind", ["gz", "zst"])
@pytest.mark.parametrize("name", ["bomb.csv", "bomb.txt"])
def test_decompression_bombs_are_refused_in_bounded_memory(desk: Desk, kind: str, name: str) -> None:
    pieces = zlib.compressobj(wbits=31) if kind == "gz" else zstandard.ZstdCompressor().compressobj()
    block = b"1,x\n" * (4 * MIB // 4)
    packed = pieces.compress(b"a,b\n") + b"".join(pieces.compress(block) for _ in range(64)) + pieces.flush()
    desk.upload(f"{name}.{kind}", packed)

    def run() -> None:
        with pytest.raises(Reject, match=r"decompression bomb"):
            desk.process(f"{name}.{kind}")

    assert _peak_rss(run) < 200 * MIB
    assert desk.store.writes == [f"uploads/{name}.{kind}"], "nothing half-done is left"


def test_an_image_of_a_hundred_thousand_pixels_a_side_is_not_decoded(desk: Desk) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    image = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )
    desk.upload("huge.png", image)

    def run() -> None:
        with pytest.raises(Reject, match=r"100000 × 100000 pixels"):
            desk.process("huge.png")

    assert _peak_rss(run) < 50 * MIB


@pytest.mark.parametrize(("form", "side"), [("PNG", 7_000), ("WEBP", 4_000), ("JPEG", 7_000)])
def test_a_thumbnail_of_the_largest_image_takes_bounded_memory(desk: Desk, form: str, side: int) -> None:
    buffer = io.BytesIO()
    Image.new("RGB" if form == "JPEG" else "RGBA", (side, side), "red").save(buffer, form, lossless=True)
    desk.upload("large", buffer.getvalue())
    assert _peak_rss(lambda: desk.process("large", "thumbnail")) < 420 * MIB
    with Image.open(io.BytesIO(desk.read("processed/large.thumbnail.png"))) as small:
        assert small.size == (256, 256)


def test_a_parquet_file_of_kilobytes_that_holds_gigabytes_is_refused(desk: Desk) -> None:
    frame = pl.select(sevens=pl.repeat(7, 40_000_000, dtype=pl.Int64))
    buffer = io.BytesIO()
    frame.write_parquet(buffer, row_group_size=40_000_000)
    del frame
    assert len(buffer.getvalue()) < 200_000
    desk.upload("t.parquet", buffer.getvalue())

    def run() -> None:
        with pytest.raises(Reject, match=r"row group 1 of the Parquet file takes about \d+ MiB of memory"):
            desk.transform("normalize", source="t.parquet")

    assert _peak_rss(run) < 50 * MIB


@pytest.mark.parametrize("cut", [9, 40, 200])
def test_a_parquet_file_without_its_end_is_refused(desk: Desk, cut: int) -> None:
    buffer = io.BytesIO()
    pl.DataFrame({"a": [1, 2, 3]}).write_parquet(buffer)
    desk.upload("t.parquet", buffer.getvalue()[:-cut])
    with pytest.raises(Reject, match=r"not a readable Parquet file: it has no footer"):
        desk.process("t.parquet")


@pytest.mark.parametrize(
    ("name", "data", "operation"),
    [
        ("cut.png", png(200, 200)[:60], "thumbnail"),
        ("cut.jpg", b"\xff\xd8\xff\xe0" + b"\0" * 50, "inspect"),
        ("cut.pdf", pdf("x")[:100], "inspect"),
        ("cut.zip", b"PK\x03\x04" + b"\0" * 50, "inspect"),
        ("junk.tar", b"\0" * 257 + b"ustar" + b"\xff" * 500, "inspect"),
    ],
)
def test_cut_and_broken_files_fail_for_good(desk: Desk, name: str, data: bytes, operation: str) -> None:
    desk.upload(name, data)
    with pytest.raises(Reject, match=r"the \w+ is broken"):
        desk.process(name, operation)


@pytest.mark.parametrize("piece", ["<!--", "<a x='", "&amp"])
def test_html_that_never_ends_what_it_begins_is_refused_in_bounded_time(desk: Desk, piece: str) -> None:
    desk.upload("t.html", "<html>" + piece * 50_000)
    with pytest.raises(Reject, match=r"the HTML page ends inside a tag, comment or entity that began \d+ characters"):
        desk.process("t.html", "extract_text")
    desk.upload("t.html", "<html><!--" + "x" * (10 * MIB) + "-->")
    with pytest.raises(Reject, match=r"the HTML page has a tag, comment or entity of more than 8388608 characters"):
        desk.process("t.html", "extract_text")


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../../b", "C:\\Windows\\x", "..\\x"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_archives_that_would_write_outside_are_refused(desk: Desk, kind: str, name: str) -> None:
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("good.txt", "x")
            archive.writestr(name, "x")
    else:
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            tar.addfile(tarfile.TarInfo("good.txt"))
            tar.addfile(tarfile.TarInfo(name))
    desk.upload(f"a.{kind}", buffer.getvalue())
    with pytest.raises(Reject, match=r"entry 2 .* would leave the folder"):
        desk.process(f"a.{kind}")


def test_a_tar_link_to_outside_is_refused(desk: Desk) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        link = tarfile.TarInfo("docs/link")
        link.type, link.linkname = tarfile.SYMTYPE, "../../secret"
        tar.addfile(link)
    desk.upload("a.tar", buffer.getvalue())
    with pytest.raises(Reject, match=r"a link to .* would leave the folder"):
        desk.process("a.tar")


@pytest.mark.parametrize("target", ["/etc/passwd", "../../secret"])
def test_a_zip_link_to_outside_is_refused(desk: Desk, target: str) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, to in (("docs/inside", "../good.txt"), ("docs/link", target)):
            link = zipfile.ZipInfo(name)
            link.external_attr = 0o120777 << 16
            archive.writestr(link, to)
    desk.upload("a.zip", buffer.getvalue())
    with pytest.raises(Reject, match=rf"a link to .*{target}' would leave the folder"):
        desk.process("a.zip")


def test_a_tar_entry_of_less_than_no_bytes_is_refused(desk: Desk) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("a"))
    header = bytearray(buffer.getvalue())
    header[124:136], header[148:156] = b"\xff" * 12, b" " * 8
    header[148:156] = b"%06o\0 " % sum(header[:512])
    desk.upload("a.tar", bytes(header))
    with pytest.raises(Reject, match="the tar is broken: entry 1 has a size below 0"):
        desk.process("a.tar")


def test_a_tar_header_that_asks_for_gigabytes_is_refused(desk: Desk) -> None:
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, 3 * 1024 * MIB
    desk.upload("a.tar", header.tobuf(tarfile.USTAR_FORMAT) + b"\0" * 2048)
    with pytest.raises(Reject, match=r"the tar has a header of more than"):
        desk.process("a.tar")


def test_a_zip_of_a_million_entries_is_refused_before_they_are_read(desk: Desk) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x", "x")
    data = bytearray(buffer.getvalue())
    at = data.rfind(b"PK\x05\x06")
    data[at + 12 : at + 16] = struct.pack("<I", 64 * MIB)
    desk.upload("a.zip", bytes(data))
    with pytest.raises(Reject, match=r"the zip has 1 entries, more than 100000 or with too long names"):
        desk.process("a.zip")


@pytest.mark.parametrize(
    ("name", "operation", "reason"),
    [
        ("t.csv", "thumbnail", "thumbnail: t.csv is text/csv, not PNG, JPEG, GIF, WebP, BMP or TIFF"),
        ("t.csv", "extract_text", "extract_text: t.csv is text/csv, not PDF or HTML or text"),
        ("t.csv", "decompress", "decompress: t.csv is text/csv, neither gzip nor zstd"),
        ("t.txt", "convert", "convert: t.txt is text/plain, not CSV, NDJSON or Parquet"),
        ("t.bin", "extract_text", "extract_text: t.bin is"),
        ("empty", "compress", "compress: empty is empty"),
    ],
)
def test_operations_that_do_not_fit_the_file_fail_for_good(desk: Desk, name: str, operation: str, reason: str) -> None:
    desk.upload("t.csv", GOOD)
    desk.upload("t.txt", "some prose")
    desk.upload("t.bin", b"\0\1\2\3")
    desk.upload("empty", b"")
    with pytest.raises(Reject, match=reason):
        desk.process(name, operation)


def test_too_many_groups_fail_for_good_instead_of_filling_memory(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits.guard_groups, "__kwdefaults__", {"limit": 1_000})
    for step in ({"name": "aggregation", "group_by": ["id"]}, "deduplicate"):
        with pytest.raises(Reject, match=r"more than 1000 different values of"):
            desk.transform(step, dataset_size=60_000)
    assert desk.transform({"name": "aggregation", "group_by": ["quantity"]}, dataset_size=60_000).rows_out == 100


def test_too_many_rows_to_sort_fail_for_good(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits.guard_bytes, "__kwdefaults__", {"limit": MIB})
    with pytest.raises(Reject, match=r"sort: the rows take more than 1 MiB of memory"):
        desk.transform({"name": "sort", "by": ["value"]}, dataset_size=100_000)


@pytest.mark.parametrize(
    "fields",
    [
        {"filename": "../secret"},
        {"filename": "a//b"},
        {"filename": "a\0b"},
        {"filename": "x" * 1_100},
        {"filename": "a", "processing_time": -1},
        {"filename": "a", "processing_time": 1e9},
        {"filename": "a", "processing_time": float("nan")},
        {"filename": "a", "operations": ["explode"]},
        {"filename": "a", "operations": []},
        {"filename": "a", "operations": [{"name": "thumbnail", "longest_side": 100_000}]},
        {"filename": "a", "colour": "red"},
        {},
    ],
)
def test_file_payloads_that_make_no_sense_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FileProcessing.model_validate(fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"transformation": "normalize"},
        {"transformation": "normalize", "source": "a.csv", "dataset_size": 5},
        {"transformation": "normalize", "source": "../a.csv"},
        {"transformation": "normalize", "source": "/"},
        {"transformation": "normalize", "dataset_size": 0},
        {"transformation": "normalize", "dataset_size": -5},
        {"transformation": "normalize", "dataset_size": 10**12},
        {"transformation": "normalize", "dataset_size": 5, "output_format": "xlsx"},
        {"transformation": "explode", "dataset_size": 5},
        {"transformation": [], "dataset_size": 5},
        {"transformation": ["normalize"] * 33, "dataset_size": 5},
        {"transformation": {"name": "sample"}, "dataset_size": 5},
        {"transformation": {"name": "sample", "rows": 1, "fraction": 0.5}, "dataset_size": 5},
        {"transformation": {"name": "filter", "where": "a ="}, "dataset_size": 5},
        {"transformation": {"name": "aggregation", "aggregates": {"x": {"function": "sum"}}}, "dataset_size": 5},
        {"dataset_size": 5},
    ],
)
def test_data_payloads_that_make_no_sense_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DataTransformation.model_validate(fields)


def test_a_source_that_is_not_there_fails_for_good(desk: Desk) -> None:
    with pytest.raises(Reject, match=r"^input not found: uploads/absent\.csv$"):
        desk.transform("normalize", source="absent.csv")
    with pytest.raises(Reject, match=r"^input not found: uploads/absent/ holds no files$"):
        desk.transform("normalize", source="absent/")


def test_storage_that_is_down_is_no_permanent_failure(desk: Desk) -> None:
    desk.upload("t.csv", GOOD)
    desk.store.failure = StoreUnavailable("storage did not answer")
    with pytest.raises(StoreUnavailable):
        desk.process("t.csv")
    with pytest.raises(StoreUnavailable):
        desk.transform("normalize", source="t.csv")


@pytest.mark.parametrize("after", [1, 3, 10, 20])
def test_cancellation_takes_effect_at_the_next_checkpoint_wherever_that_is(after: int) -> None:
    store = MemoryStore()
    store.put("uploads/t.csv", b"a,b\n" + b"1,2\n" * 5_000_000)
    context = FakeContext(store, cancel_after=after)
    payload = DataTransformation(source="t.csv", transformation=["normalize", {"name": "filter", "where": "a >= 0"}])
    with pytest.raises(TaskCancelled):
        data_transformation(payload, context)
    assert context.checkpoints <= after + 2
    assert store.writes == ["uploads/t.csv"]


def test_a_long_task_is_never_long_without_a_checkpoint() -> None:
    store, gaps = MemoryStore(), []
    store.put("uploads/t.csv", b"a,b\n" + b"1.25,some text\n" * 3_000_000)
    context = FakeContext(store)
    last = time.monotonic()

    def checkpoint() -> None:
        nonlocal last
        now = time.monotonic()
        gaps.append(now - last)
        last = now

    context.checkpoint = checkpoint  # type: ignore[method-assign]
    payload = FileProcessing(filename="t.csv", operations=["inspect", "compress", "convert"])
    file_processing(payload, context)
    assert max(gaps) < 2
    assert len(context.progress_calls) > 20


def test_no_block_is_cut_inside_of_quotes() -> None:
    rows = b"".join(b'%d,"line one\nline ""two""\n%s"\n' % (i, b"z" * (i % 50)) for i in range(200_000))
    found = list(blocks.blocks(io.BytesIO(rows)))
    assert len(found) > 1
    assert b"".join(block.data for block in found) == rows
    assert all(block.data.count(b'"') % 2 == 0 and block.data.endswith(b'"\n') for block in found)
