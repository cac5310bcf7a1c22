"""Files that are no tables: known by their content, read whatever their encoding or depth, refused with a reason."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pypdf
import pytest
from PIL import Image, ImageCms

from poolhouse.worker.errors import Reject
from tests.unit.handlers.desk import Desk
from tests.unit.handlers.test_files import pdf

ROOT = Path(__file__).parents[3]


def _refusal(run: Callable[[], object]) -> str | None:
    """Why it was refused, None if it was not; any other error would be tried again, in vain."""
    try:
        run()
    except Reject as refusal:
        return refusal.reason
    return None


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def v7_tar(name: bytes = b"a.txt") -> bytes:
    block = bytearray(512)
    fields = {0: name, 100: b"0000644\0", 108: b"0000000\0", 116: b"0000000\0", 124: b"00000000003\0"}
    for at, value in (fields | {136: b"00000000000\0", 148: b" " * 8}).items():
        block[at : at + len(value)] = value
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + b"abc".ljust(512, b"\0") + bytes(1024)


@pytest.mark.parametrize(
    ("name", "data", "media_type"),
    [
        ("t.jp2", saved(Image.new("RGB", (32, 32), "red"), "JPEG2000"), "image/jp2"),
        ("t.j2k", saved(Image.new("RGB", (32, 32), "red"), "JPEG2000", no_jp2=True), "image/j2c"),
        ("t.tar", v7_tar(), "application/x-tar"),
        ("t.txt", b"A PDF starts with %PDF-1.4 in its first line.\n", "text/plain"),
        ("t.txt", b"BM is what a bitmap starts with\n", "text/plain"),
        ("t.rtf", b"{\\rtf1\\ansi Hi}\n", "text/rtf"),
        ("t.ini", b"[section]\nkey = 1\n", "text/plain"),
        ("t.log", b"[2026-01-02 03:04:05] started\n" * 9_000, "text/plain"),
        ("t.code", b"{ let a = 1; }\n", "text/plain"),
        ("t.dump", b'[{"a": "' + b"x" * 99_000 + b'"}]', "application/json"),
        ("t.dump", b'\xef\xbb\xbf{"a": [1, 2]}', "application/json"),
        ("t.json", b"{'a': 1}", "application/json"),
        ("t.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"),
        ("t.tif", saved(Image.new("RGB", (8, 8), "red"), "TIFF", big_tiff=True), "image/tiff"),
        ("t.html", b"<html><body>a\0b", "application/octet-stream"),
        ("t.txt", b"GIF89a is a version\n", "text/plain"),
        ("t.txt", b"x" * 257 + b"ustar is no magic in prose\n", "text/plain"),
        ("t.csv", b"PAR1,PAR2\n1,2\n3,4\n", "text/csv"),
        ("t.csv", b"a,b\n1,x\x0bz\n2,y\n", "text/csv"),
        ("t.csv", b"a,b\n1,x\x00z\n2,y\n", "text/csv"),
        ("t.pdf", b"\n\n" + pdf("x"), "application/pdf"),
        ("t.html", b"<table><tr><td>Hi</td></tr></table>", "text/html"),
        ("t.html", b"<!-- saved --><html><body>Hi", "text/html"),
        ("t.xhtml", b"<?xml version='1.0'?><!DOCTYPE html><html><body>Hi", "text/html"),
        ("t.html", "<html><body>Hi".encode("utf-16"), "text/html"),
        ("t.xml", b"<?xml version='1.0'?><table><tr/></table>", "text/xml"),
        ("t", b"<div>Hi</div>", "text/html"),
        ("t.bz2", b"BZh91AY&SY" + bytes(range(50)), "application/x-bzip2"),
        ("t.xz", b"\xfd7zXZ\0" + bytes(range(50)), "application/x-xz"),
    ],
)
def test_a_file_is_what_its_content_says(desk: Desk, name: str, data: bytes, media_type: str) -> None:
    desk.upload(name, data)
    found = desk.process(name, "inspect").media_type
    assert found in {media_type, media_type.replace("text/xml", "application/xml")}


def test_a_jpeg_with_more_images_after_it_is_a_jpeg(desk: Desk) -> None:
    more = [Image.new("RGB", (8, 8), "blue")]
    desk.upload("t.jpg", saved(Image.new("RGB", (8, 8), "red"), "MPO", save_all=True, append_images=more))
    report = desk.process("t.jpg", "inspect", "thumbnail")
    assert report.media_type == "image/jpeg"
    assert report.image is not None
    assert report.image.format == "jpeg"


def test_words_of_a_page_that_are_apart_stay_apart(desk: Desk) -> None:
    desk.upload("t.html", "<html><details><summary>a</summary>b</details><select><option>c<option>d</select>")
    desk.process("t.html", "extract_text")
    assert desk.read("processed/t.html.txt").split() == [b"a", b"b", b"c", b"d"]


@pytest.mark.parametrize(
    ("inside", "reason"),
    [
        (saved(Image.new("RGB", (8, 8)), "PNG") + bytes(99), "is a PNG image"),
        (pdf("x"), "is a PDF"),
        (v7_tar(), "is a tar archive"),
        (gzip.compress(b"a,b\n1,2\n", mtime=0), "is gzip inside of a compressed file: decompress it once"),
        (b"PAR1" + bytes(20), "Parquet inside gzip can't be read in pieces"),
    ],
)
def test_a_compressed_file_is_no_table_because_of_its_name(desk: Desk, inside: bytes, reason: str) -> None:
    desk.upload("t.csv.gz", gzip.compress(inside))
    report = desk.process("t.csv.gz")
    assert report.table is None
    assert desk.read("processed/t.csv") == inside
    with pytest.raises(Reject, match=reason):
        desk.process("t.csv.gz", "convert")
    with pytest.raises(Reject, match=reason):
        desk.transform("deduplicate", source="t.csv.gz")


def test_a_compressed_table_needs_no_ending_that_says_so(desk: Desk) -> None:
    desk.upload("t.csv", gzip.compress(b"a,b\n1,2\n"))
    table = desk.process("t.csv").table
    assert table is not None
    assert table.rows == 1


@pytest.mark.parametrize(
    ("html", "lines"),
    [
        ("<pre>\ndef f():\n    return 1\n\n</pre>", ["def f():", "    return 1"]),
        ("<pre>a\r\n\tb</pre>c\n d", ["a", "\tb", "c d"]),
        ("<p>one\n  two<pre><b>x</b>\n<i> y  z</i></pre>three", ["one two", "x", " y  z", "three"]),
        ("<pre>never\nclosed", ["never", "closed"]),
        ("</pre>a\nb", ["a b"]),
        ("Notes: <textarea>a\n b</textarea> c\nd", ["Notes: a", " b c d"]),
        ("<pre>a<script>1\n2</script>\nb</pre>", ["a", "b"]),
    ],
)
def test_preformatted_text_keeps_its_lines_and_their_indentation(desk: Desk, html: str, lines: list[str]) -> None:
    desk.upload("t.html", f"<html>{html}</html>")
    desk.process("t.html", "extract_text")
    assert desk.read("processed/t.html.txt").decode().splitlines() == lines


@pytest.mark.parametrize(
    ("label", "codec", "text"),
    [
        ("windows-1251", "cp1251", "Привет"),
        ("Shift_JIS", "cp932", "日本語"),
        ("EUC-KR", "cp949", "한국어"),
        ("gb2312", "gb18030", "中文"),
        ("iso-8859-1", "cp1252", "Zoë „quoted“"),
        ("koi8-r", "koi8_r", "Привет"),
    ],
)
@pytest.mark.parametrize("form", ['<meta charset="{}">', "<META http-equiv=x content='text/html; charset={}'>"])
def test_a_page_is_read_in_the_encoding_that_it_declares(
    desk: Desk, label: str, codec: str, text: str, form: str
) -> None:
    page = f"<html><head>{form.format(label)}</head><body>{text}</body></html>"
    desk.upload("t.html", page.encode(codec))
    desk.process("t.html", "extract_text")
    assert desk.read("processed/t.html.txt").decode() == f"{text}\n"


@pytest.mark.parametrize("head", ["", "<meta charset='x-klingon'>", "<meta charset=utf-8>", "<meta charset=base64>"])
def test_a_page_in_an_unknown_encoding_is_refused(desk: Desk, head: str) -> None:
    desk.upload("t.html", f"<html><head>{head}</head><body>Привет</body></html>".encode("cp1251"))
    with pytest.raises(Reject, match="neither in UTF-8 nor says in which encoding it is"):
        desk.process("t.html", "extract_text")


@pytest.mark.parametrize(
    "piece", ["<![foo[x]]>", "<!foo [", "<?php echo 1 ?>", "<![endif]-->", "<a b='", "&#xffffffff;"]
)
def test_a_page_of_odd_markup_is_read_or_refused(desk: Desk, piece: str) -> None:
    desk.upload("t.html", f"<html><body>before{piece}after</body></html>")
    reason = _refusal(lambda: desk.process("t.html"))
    assert "HTML" in reason if reason else "before" in desk.read("processed/t.html.txt").decode()


RAMP = np.tile(np.linspace(0, 65535, 256).astype("<u2"), (64, 1))


@pytest.mark.parametrize(
    ("array", "form"),
    [
        (RAMP, "PNG"),
        (RAMP, "TIFF"),
        (RAMP.astype("<i4"), "TIFF"),
        (RAMP.astype("<i4") * 1_000, "TIFF"),
        ((RAMP / 65535).astype("f4"), "TIFF"),
        ((RAMP / 257).astype("f4"), "TIFF"),
        ((RAMP / 1_000 - 30).astype("f4"), "TIFF"),
        ((RAMP // 257).astype("u1"), "PNG"),
    ],
)
def test_a_thumbnail_of_a_deep_image_keeps_its_levels(desk: Desk, array: np.ndarray, form: str) -> None:
    desk.upload("deep", saved(Image.fromarray(array), form))
    desk.process("deep", "thumbnail")
    with Image.open(io.BytesIO(desk.read("processed/deep.thumbnail.png"))) as small:
        levels = np.asarray(small.convert("L"))[32]
    assert len(set(levels.tolist())) > 200
    assert (np.diff(levels.astype(int)) >= 0).all()


@pytest.mark.parametrize("mode", ["1", "P", "PA", "LA", "RGBa", "LAB", "HSV", "CMYK", "YCbCr", "I;16B"])
@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
def test_an_image_of_any_mode_has_a_thumbnail(desk: Desk, mode: str, form: str) -> None:
    image = Image.new("RGB", (600, 300), "red")
    for kind in ("TIFF", "PNG"):
        try:
            data = saved(image.convert(mode), kind)
        except (OSError, ValueError, KeyError):
            continue
        desk.upload("t", data)
        desk.process("t", {"name": "thumbnail", "format": form})
        with Image.open(io.BytesIO(desk.read(f"processed/t.thumbnail.{form}"))) as small:
            assert small.size == (256, 128)


def test_a_profile_for_other_colours_is_not_handed_on(desk: Desk) -> None:
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for space, kept in ((b"CMYK", None), (b"GRAY", None), (b"RGB ", b"RGB ")):
        profile[16:20] = space
        mode = {b"CMYK": "CMYK", b"GRAY": "L"}.get(space, "RGB")
        desk.upload("t.jpg", saved(Image.new(mode, (64, 64)), "JPEG", icc_profile=bytes(profile)))
        desk.process("t.jpg", "thumbnail")
        with Image.open(io.BytesIO(desk.read("processed/t.jpg.thumbnail.png"))) as small:
            assert (small.info.get("icc_profile") or b"")[16:20] == (kept or b"")


def test_exif_behind_the_pixels_of_a_png_turns_it(desk: Desk) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    raw = saved(Image.new("RGB", (100, 50)), "PNG", exif=exif)
    at, chunks = 8, []
    while at < len(raw):
        size = int.from_bytes(raw[at : at + 4], "big")
        chunks.append(raw[at : at + 12 + size])
        at += 12 + size
    late = [chunk for chunk in chunks if chunk[4:8] == b"eXIf"]
    assert late
    early = [chunk for chunk in chunks if chunk[4:8] != b"eXIf"]
    desk.upload("t.png", raw[:8] + b"".join([*early[:-1], *late, early[-1]]))
    image = desk.process("t.png").image
    assert image is not None
    assert image.orientation == 6
    with Image.open(io.BytesIO(desk.read("processed/t.png.thumbnail.png"))) as small:
        assert small.size == (50, 100)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("t.png", b"\x89PNG\r\n\x1a\n" + bytes(40)),
        ("t.gif", b"GIF89a" + bytes(3)),
        ("t.tif", b"II*\0" + b"\xff" * 60),
        ("t.bmp", b"BM" + bytes(60)),
        ("t.webp", b"RIFF\x24\0\0\0WEBPVP8 " + bytes(24)),
        ("t.pdf", b"%PDF-1.4\n" + b"\0" * 100),
        ("t.zip", b"PK\x03\x04" + bytes(60)),
        ("t.parquet", b"PAR1" + bytes(60) + b"\x08\0\0\0PAR1"),
        ("t.tar", v7_tar()[:520]),
        ("t.gz", b"\x1f\x8b\x08\0" + bytes(20)),
        ("t.zst", b"\x28\xb5\x2f\xfd" + bytes(20)),
    ],
)
def test_a_broken_file_is_refused_in_words_of_its_own(desk: Desk, name: str, data: bytes) -> None:
    desk.upload(name, data)
    reason = _refusal(lambda: desk.process(name))
    assert reason or name == "t.tar", "the end of an archive may be missing; all else is broken"
    assert not any(inside in str(reason) for inside in ("/tmp", "object at", "pypdf", "Traceback"))


def test_names_in_archives_of_any_encoding_are_listed(desk: Desk) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", encoding="latin-1", format=tarfile.GNU_FORMAT) as tar:
        entry = tarfile.TarInfo("größe.txt")
        entry.size = 3
        tar.addfile(entry, io.BytesIO(b"abc"))
    desk.upload("t.tar", buffer.getvalue())
    archive = desk.process("t.tar").archive
    assert archive is not None
    assert archive.names == ["gr��e.txt"]
    assert json.loads(desk.read("processed/t.tar.report.json"))["archive"]["names"] == archive.names


def encrypted(user: str, algorithm: str) -> bytes:
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf("Hello", title="Open")))
    writer.encrypt(user_password=user, owner_password="owner", algorithm=algorithm)
    buffer = io.BytesIO()
    writer.write(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("algorithm", ["RC4-40", "RC4-128", "AES-128", "AES-256"])
def test_a_pdf_that_only_its_owner_may_change_is_read(desk: Desk, algorithm: str) -> None:
    desk.upload("t.pdf", encrypted("", algorithm))
    report = desk.process("t.pdf").pdf
    assert report is not None
    assert (report.pages, report.title, report.encrypted) == (1, "Open", True)
    assert desk.read("processed/t.pdf.txt").decode().strip() == "Hello"


def test_a_pdf_that_takes_a_password_is_not(desk: Desk) -> None:
    desk.upload("t.pdf", encrypted("user", "RC4-128"))
    report = desk.process("t.pdf", "inspect").pdf
    assert report is not None
    assert (report.pages, report.encrypted) == (None, True)
    with pytest.raises(Reject, match="can't be read without the password"):
        desk.process("t.pdf", "extract_text")


@pytest.mark.parametrize("name", [b"/Fl", b"/A85", b"/JBIG2Decode", b"/NoSuchFilter", b"[/FlateDecode/FlateDecode]"])
def test_a_pdf_with_odd_filters_is_read_or_refused_for_good(desk: Desk, name: bytes) -> None:
    body = zlib.compress(b"BT /F1 12 Tf (Hello) Tj ET")
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 600]/Contents 4 0 R>>",
        b"<</Length %d/Filter%s>>stream\n" % (len(body), name) + body + b"\nendstream",
    ]
    out, offsets = b"%PDF-1.4\n", []
    for number, item in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n" % number + item + b"\nendobj\n"
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    end = b"trailer<</Size 5/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % len(out)
    desk.upload("t.pdf", out + b"xref\n0 5\n0000000000 65535 f \n" + table + end)
    assert "pypdf" not in str(_refusal(lambda: desk.process("t.pdf")))


def test_what_is_filled_into_a_form_is_text_too(desk: Desk) -> None:
    from pypdf.generic import ArrayObject, DictionaryObject, NameObject, TextStringObject

    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf("Name:")))
    field = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Annot"),
            NameObject("/Subtype"): NameObject("/Widget"),
            NameObject("/FT"): NameObject("/Tx"),
            NameObject("/V"): TextStringObject("Ada Lovelace"),
        }
    )
    writer.pages[0][NameObject("/Annots")] = ArrayObject([writer._add_object(field)])
    buffer = io.BytesIO()
    writer.write(buffer)
    desk.upload("t.pdf", buffer.getvalue())
    desk.process("t.pdf", "extract_text")
    assert "Ada Lovelace" in desk.read("processed/t.pdf.txt").decode()


MEMORY = """
import io, sys, zlib
import numpy as np
import polars as pl
from PIL import Image
from tests.unit.handlers.desk import Desk

def png_with_a_transparent_colour():
    buffer = io.BytesIO()
    Image.new("RGB", (7_000, 7_000)).save(buffer, "PNG", transparency=(0, 0, 0))
    return "t.png", buffer.getvalue()

def tiff_in_lab():
    buffer = io.BytesIO()
    Image.new("LAB", (7_000, 7_000)).save(buffer, "TIFF", compression="tiff_lzw")
    return "t.tif", buffer.getvalue()

def tiff_of_floats():
    buffer = io.BytesIO()
    Image.new("F", (7_000, 7_000)).save(buffer, "TIFF", compression="tiff_lzw")
    return "t.tif", buffer.getvalue()

def parquet_of_a_million_rows_a_group():
    n, buffer = 1_048_576, io.BytesIO()
    frame = pl.DataFrame({f"c{i}": pl.int_range(0, n, eager=True).cast(pl.Float64) for i in range(19)})
    frame.write_parquet(buffer, row_group_size=n)
    return "t.parquet", buffer.getvalue()

def pdf_of_small_objects(count=95_000):
    states = b"<<" + b"".join(b"/g%d %d 0 R" % (i, i + 6) for i in range(count)) + b">>"
    label = b"".join(b"q /g%d gs BT /F1 9 Tf (p%d) Tj ET Q\\n" % (i, i) for i in range(16_000))
    inner = [b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 600]/Contents %d 0 R"
        b"/Resources<</Font<</F1 4 0 R>>/ExtGState 5 0 R>>>>" % (count + 6),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>", states]
    inner += [b"<</Type/ExtGState/CA 0.5/ca 0.5/BM/Normal>>"] * count
    heads, at = [], 0
    for number, item in enumerate(inner, 1):
        heads.append(b"%d %d" % (number, at))
        at += len(item) + 1
    head = b" ".join(heads) + b"\\n"
    out = b"%PDF-1.5\\n"
    def stream(number, dictionary, content):
        nonlocal out
        packed, start = zlib.compress(content, 9), len(out)
        out += b"%d 0 obj\\n<<%s/Length %d/Filter/FlateDecode>>stream\\n" % (number, dictionary, len(packed))
        out += packed + b"\\nendstream\\nendobj\\n"
        return start
    last = len(inner)
    content_at = stream(last + 1, b"", label)
    objects_at = stream(last + 2, b"/Type/ObjStm/N %d/First %d" % (last, len(head)), head + b" ".join(inner))
    start = len(out)
    table = b"\\0" + bytes(4) + b"\\xff\\xff\\xff"
    table += b"".join(b"\\2" + (last + 2).to_bytes(4, "big") + i.to_bytes(3, "big") for i in range(last))
    table += b"".join(b"\\1" + at.to_bytes(4, "big") + bytes(3) for at in (content_at, objects_at, start))
    stream(last + 3, b"/Type/XRef/Size %d/W[1 4 3]/Root 1 0 R" % (last + 4), table)
    return "t.pdf", out + b"startxref\\n%d\\n%%%%EOF\\n" % start

name, data = globals()[sys.argv[1]]()
desk = Desk()
desk.upload(name, data)
del data
open("/proc/self/clear_refs", "w").write("5")
desk.process(name, *sys.argv[2:])
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(desk.context.checkpoints, peak // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the greatest memory of a process is read from /proc")
@pytest.mark.parametrize(
    ("made", "operation", "checkpoints"),
    [
        ("png_with_a_transparent_colour", "thumbnail", 20),
        ("tiff_in_lab", "thumbnail", 20),
        ("tiff_of_floats", "thumbnail", 20),
        ("parquet_of_a_million_rows_a_group", "inspect", 3),
        ("pdf_of_small_objects", "extract_text", 100),
    ],
)
def test_a_file_of_the_largest_kind_takes_less_than_512_mib(made: str, operation: str, checkpoints: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, made, operation], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    found, peak_mib = map(int, done.stdout.split())
    assert peak_mib < 512
    assert found >= checkpoints
