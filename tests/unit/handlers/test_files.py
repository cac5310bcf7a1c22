"""What a file task finds in files of each kind, and what it makes of them."""

from __future__ import annotations

import base64
import binascii
import gzip
import hashlib
import io
import json
import tarfile
import zipfile

import google_crc32c
import pandas as pd
import polars as pl
import pypdf
import pytest
import zstandard
from PIL import Image
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject
from sklearn import datasets

from poolhouse.testing.doubles import FakeContext
from poolhouse.worker.errors import Reject, TaskCancelled
from tests.unit.handlers.desk import Desk
from worker.handlers.file_processing import file_processing
from worker.transforms.files.contract import FileProcessing

CSV = 'id,city,amount\n1,Rome,2.5\n2,"Łódź, PL",\n3,Oslo,-1\n'


def png(width: int = 40, height: int = 20, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (width, height), "red").save(buffer, "PNG")
    return buffer.getvalue()


def pdf(*pages: str, title: str | None = None) -> bytes:
    writer = pypdf.PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    for text in pages:
        page = writer.add_blank_page(200, 200)
        stream = DecodedStreamObject()
        stream.set_data(f"BT /F1 12 Tf 20 100 Td ({text}) Tj ET".encode())
        page[NameObject("/Contents")] = stream
        page[NameObject("/Resources")] = DictionaryObject(
            {NameObject("/Font"): DictionaryObject({NameObject("/F1"): font})}
        )
    if title:
        writer.add_metadata({"/Title": title})
    buffer = io.BytesIO()
    writer.write(buffer)
    return buffer.getvalue()


def test_every_report_has_size_and_hashes(desk: Desk) -> None:
    data = bytes(range(256)) * 100
    desk.upload("thing.bin", data)
    report = desk.process("thing.bin")
    assert report.size_bytes == len(data)
    assert report.sha256 == hashlib.sha256(data).hexdigest()
    assert report.crc32c == base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()
    assert report.media_type == "application/octet-stream"
    assert not report.simulated


def test_crc32c_of_the_check_string_is_that_of_the_rfc(desk: Desk) -> None:
    desk.upload("check.txt", "123456789")  # RFC 3720, B.4 and the usual check value E3069283
    crc32c = desk.process("check.txt", "inspect").crc32c
    assert crc32c is not None
    assert binascii.hexlify(base64.b64decode(crc32c)) == b"e3069283"


def test_the_report_lies_beside_the_outputs(desk: Desk) -> None:
    desk.upload("a/b.csv", CSV)
    report = desk.process("a/b.csv")
    assert json.loads(desk.read("processed/a/b.csv.report.json")) == json.loads(report.model_dump_json())
    assert report.outputs == ["processed/a/b.csv.gz", "processed/a/b.csv.parquet"]


@pytest.mark.parametrize(
    ("text", "lines", "words", "longest"),
    [
        ("one two\nthree\n", 2, 3, 7),
        ("no end", 1, 2, 6),
        ("\n\n", 2, 0, 0),
        ("größer als ẞ\r\nx\r\n", 2, 4, 12),
        ("日本語 テキスト\n", 1, 2, 8),
        ("word" * 1_000_000, 1, 1, 4_000_000),
    ],
)
def test_lines_and_words_of_texts(desk: Desk, text: str, lines: int, words: int, longest: int) -> None:
    desk.upload("t.txt", text)
    report = desk.process("t.txt", "inspect")
    assert report.text is not None
    assert (report.text.lines, report.text.words, report.text.longest_line) == (lines, words, longest)
    assert (report.media_type, report.encoding) == ("text/plain", "utf-8")


def test_texts_in_other_encodings_are_counted_too(desk: Desk) -> None:
    desk.upload("wide.txt", "\ufeffein Satz\n".encode("utf-16-le"))
    desk.upload("old.txt", "größer\nals\n".encode("latin-1"))
    wide, old = desk.process("wide.txt", "inspect"), desk.process("old.txt", "inspect")
    assert wide.text is not None
    assert old.text is not None
    assert (wide.encoding, wide.text.words, wide.text.lines) == ("utf-16", 2, 1)
    assert (old.encoding, old.text.words, old.text.lines) == ("unknown-8bit", 2, 2)


def test_an_encoding_that_breaks_late_is_noticed(desk: Desk) -> None:
    desk.upload("late.txt", b"a word\n" * 20_000 + b"\xff\n")
    report = desk.process("late.txt", "inspect")
    assert report.text is not None
    assert (report.encoding, report.text.lines) == ("unknown-8bit", 20_001)


def test_a_table_is_described_as_pandas_sees_it(desk: Desk) -> None:
    frame = datasets.load_wine(as_frame=True).frame
    desk.upload("wine.csv", frame)
    table = desk.process("wine.csv", "inspect").table
    assert table is not None
    assert (table.format, table.rows, table.columns) == ("csv", len(frame), list(frame.columns))
    assert table.types["target"] == "int64"
    assert table.types["alcohol"] == "float64"
    assert table.min == pytest.approx(frame.min().to_dict())
    assert table.max == pytest.approx(frame.max().to_dict())
    assert set(table.null_counts.values()) == {0}


def test_a_small_csv_with_quotes_nulls_and_umlauts(desk: Desk) -> None:
    desk.upload("t.csv", CSV)
    table = desk.process("t.csv", "inspect").table
    assert table is not None
    assert table.rows == 3
    assert table.types == {"id": "int64", "city": "string", "amount": "float64"}
    assert table.null_counts == {"id": 0, "city": 0, "amount": 1}
    assert table.max == {"id": 3, "city": "Łódź, PL", "amount": 2.5}


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_other_separators_are_found_out(desk: Desk, separator: str) -> None:
    desk.upload("t.csv", f"a{separator}b\n1,5{separator}x\n2,5{separator}y\n")
    table = desk.process("t.csv", "inspect").table
    assert table is not None
    assert (table.columns, table.rows) == (["a", "b"], 2)


def test_codes_with_leading_zeros_stay_text(desk: Desk) -> None:
    desk.upload("t.csv", "zip,n\n00501,0\n10001,10\n")
    table = desk.process("t.csv", "inspect").table
    assert table is not None
    assert table.types == {"zip": "string", "n": "int64"}
    assert table.min["zip"] == "00501"


def test_content_counts_more_than_the_ending(desk: Desk) -> None:
    desk.upload("image.csv", png())
    desk.upload("prose.txt", "Well, then.\nSo, yes.\n")
    desk.upload("no-ending", CSV)
    desk.upload("data.dat", '{"a": 1}\n{"a": 2}\n')
    assert desk.process("image.csv", "inspect").media_type == "image/png"
    assert desk.process("prose.txt", "inspect").media_type == "text/plain"
    assert desk.process("no-ending", "inspect").media_type == "text/csv"
    assert desk.process("data.dat", "inspect").media_type == "application/x-ndjson"


def test_an_image_has_size_and_orientation_and_its_thumbnail_is_upright(desk: Desk) -> None:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to the right to see it upright
    image = Image.new("RGB", (400, 200), "blue")
    image.paste("red", (0, 0, 100, 200))
    image.save(buffer, "JPEG", exif=exif)
    desk.upload("photo.jpg", buffer.getvalue())
    report = desk.process("photo.jpg", "inspect", {"name": "thumbnail", "longest_side": 100, "format": "png"})
    assert report.image is not None
    assert (report.image.width, report.image.height, report.image.orientation) == (400, 200, 6)
    assert (report.image.format, report.media_type) == ("jpeg", "image/jpeg")
    with Image.open(io.BytesIO(desk.read("processed/photo.jpg.thumbnail.png"))) as small:
        assert small.size == (50, 100)
        red, _, blue = small.getpixel((25, 5))
        assert red > 200, "what was left is on top"
        assert blue < 60


def test_a_transparent_image_gets_a_white_ground_as_jpeg(desk: Desk) -> None:
    buffer = io.BytesIO()
    Image.new("RGBA", (64, 64), (0, 0, 0, 0)).save(buffer, "PNG")
    desk.upload("icon.png", buffer.getvalue())
    desk.process("icon.png", {"name": "thumbnail", "format": "jpeg", "longest_side": 16})
    with Image.open(io.BytesIO(desk.read("processed/icon.png.thumbnail.jpeg"))) as small:
        assert min(small.getpixel((8, 8))) > 250


def test_a_pdf_has_pages_title_and_text(desk: Desk) -> None:
    desk.upload("paper.pdf", pdf("First page", "Second page", title="On Queues"))
    report = desk.process("paper.pdf")
    assert report.pdf is not None
    assert (report.pdf.pages, report.pdf.title, report.pdf.encrypted) == (2, "On Queues", False)
    first, second = desk.read("processed/paper.pdf.txt").decode().split("\f")
    assert first.strip() == "First page"
    assert second.strip() == "Second page"


def test_text_of_a_page_is_what_its_reader_sees(desk: Desk) -> None:
    html = (
        "<!DOCTYPE html><html><head><title>Tasks &amp; queues</title><style>p {color: red}</style></head>"
        "<body><script>alert(1)</script><h1>One</h1><p>two\n <b>three</b>&nbsp;four<br>five</p></body></html>"
    )
    desk.upload("page", html)
    report = desk.process("page", "extract_text")
    assert report.media_type == "text/html"
    assert desk.read("processed/page.txt").decode() == "Tasks & queues\nOne\ntwo three four\nfive\n"


def test_text_of_a_text_is_itself_in_utf_8(desk: Desk) -> None:
    desk.upload("wide.txt", "\ufeffein größerer Satz\r\n".encode("utf-16-le"))
    desk.process("wide.txt", "extract_text")
    assert desk.read("processed/wide.txt.txt").decode() == "ein größerer Satz\r\n"


def test_compressed_files_expand_to_what_they_were(desk: Desk) -> None:
    data = CSV.encode() * 1_000
    desk.upload("t.csv", data)
    desk.process("t.csv", "compress", {"name": "compress", "format": "zstd"})
    assert gzip.decompress(desk.read("processed/t.csv.gz")) == data
    assert zstandard.ZstdDecompressor().stream_reader(io.BytesIO(desk.read("processed/t.csv.zst"))).read() == data


@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_decompress_writes_the_file_inside(desk: Desk, kind: str) -> None:
    data = b"line\n" * 10_000
    # Two members one after the other are one file: RFC 1952, 2.2; RFC 8878, 3.
    packed = b"".join((gzip.compress if kind == "gz" else zstandard.compress)(half) for half in (data, b"end\n"))
    desk.upload(f"notes.txt.{kind}", packed)
    report = desk.process(f"notes.txt.{kind}")
    assert report.outputs == ["processed/notes.txt"]
    assert desk.read("processed/notes.txt") == data + b"end\n"
    assert report.archive is not None
    assert (report.archive.names, report.archive.expanded_bytes) == (["notes.txt"], len(data) + 4)


def test_a_compressed_table_is_read_as_one(desk: Desk) -> None:
    desk.upload("t.csv.gz", gzip.compress(CSV.encode()))
    report = desk.process("t.csv.gz", "inspect", {"name": "convert", "to": "ndjson"})
    assert report.table is not None
    assert report.table.rows == 3
    lines = [json.loads(line) for line in desk.read("processed/t.csv.gz.ndjson").splitlines()]
    assert lines[1] == {"id": 2, "city": "Łódź, PL", "amount": None}


def test_archives_list_their_entries(desk: Desk) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("docs/a.txt", "aaa")
        archive.writestr("b.txt", "b" * 100)
    desk.upload("a.zip", packed.getvalue())
    rolled = io.BytesIO()
    with tarfile.open(fileobj=rolled, mode="w:gz") as tar:
        for name, data in (("docs/a.txt", b"aaa"), ("n" * 150 + ".txt", b"b" * 100)):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    desk.upload("a.tar.gz", rolled.getvalue())
    first, second = desk.process("a.zip").archive, desk.process("a.tar.gz").archive
    assert first is not None
    assert second is not None
    assert (first.format, first.names, first.expanded_bytes) == ("zip", ["docs/a.txt", "b.txt"], 103)
    assert (second.format, second.entries, second.expanded_bytes) == ("tar+gzip", 2, 103)


@pytest.mark.parametrize("to", ["csv", "ndjson", "parquet"])
def test_tables_convert_with_all_values(desk: Desk, to: str) -> None:
    frame = datasets.load_iris(as_frame=True).frame
    desk.upload("iris.csv", frame)
    desk.process("iris.csv", {"name": "convert", "to": to})
    data = io.BytesIO(desk.read(f"processed/iris.csv.{to}"))
    readers = {"csv": pl.read_csv, "ndjson": pl.read_ndjson, "parquet": pl.read_parquet}
    found = pd.DataFrame(readers[to](data).to_dict(as_series=False))
    pd.testing.assert_frame_equal(found, frame, check_dtype=False)


def test_a_simulation_says_so_and_takes_its_time(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    monkeypatch.setattr("worker.transforms.files.processing.simulate.__kwdefaults__", {"sleep": slept.append})
    report = desk.process("absent.csv", processing_time=2.5)
    assert report.simulated
    assert report.size_bytes is None
    assert sum(slept) == pytest.approx(2.5)
    assert json.loads(desk.read("processed/absent.csv.report.json"))["simulated"] is True


def test_a_simulation_heeds_cancellation() -> None:
    context = FakeContext(cancel_after=3)
    with pytest.raises(TaskCancelled):
        file_processing(FileProcessing(filename="absent.csv", processing_time=3600), context)
    assert context.checkpoints == 4


def test_a_file_that_is_there_is_never_simulated(desk: Desk) -> None:
    desk.upload("t.csv", CSV)
    report = desk.process("t.csv", "inspect", processing_time=3600)
    assert not report.simulated
    assert report.table is not None


def test_without_file_and_time_the_task_fails_for_good(desk: Desk) -> None:
    with pytest.raises(Reject, match=r"^input not found: uploads/absent\.csv$"):
        desk.process("absent.csv")
