"""The first bytes of a file: what they show that no name can change."""

from __future__ import annotations

import codecs
import re

from worker.transforms.tables import compression

_PARQUET_MAGIC = b"PAR1"
#: Forms of compression that tables are not read from.
_PACKED = {
    re.compile(rb"BZh[1-9]1AY&SY"): "bzip2",
    re.compile(rb"\xfd7zXZ\0"): "xz",
    re.compile(rb"\x04\x22\x4d\x18"): "lz4",
    re.compile(rb"PK\x03\x04"): "zip",
    re.compile(rb"7z\xbc\xaf\x27\x1c"): "7z",
}
#: What is no table, whatever its name says. Letters alone are no sign: a column may be named GIF89a.
_OTHERS = {
    re.compile(rb"\x89PNG\r\n\x1a\n"): "a PNG image",
    re.compile(rb"\xff\xd8\xff"): "a JPEG image",
    re.compile(rb"(?:II\*\0|MM\0\*)"): "a TIFF image",
    re.compile(rb"\s*%PDF-[0-9]\.[0-9]"): "a PDF",
    re.compile(rb"SQLite format 3\0"): "an SQLite database",
}


def is_parquet(head: bytes) -> bool:
    """Whether a file starts as Parquet does, and not as lines of text that begin with the same four letters."""
    return head.startswith(_PARQUET_MAGIC) and (b"\n" not in head or any(byte < 9 for byte in head))


def is_tar(head: bytes) -> bool:
    """Whether a file starts with a header of tar: of POSIX and GNU, or of Unix V7, which its checksum alone shows."""
    if head[257:262] == b"ustar" and b"\0" in head[:257]:
        return True
    if len(head) < 512 or not head[0] or not any(byte == 0 for byte in head[:100]):
        return False
    try:
        expected = int(head[148:156].strip(b" \0") or b"x", 8)
    except ValueError:
        return False
    return expected == sum(head[:148]) + 8 * ord(" ") + sum(head[156:512])


def why_no_table(head: bytes) -> str | None:
    """What keeps a file, or what is in a compressed one, from being read as CSV or NDJSON; None where nothing does."""
    packed = next((form for magic, form in _PACKED.items() if magic.match(head)), None)
    if packed:
        return f"is {packed}: of compressed tables, gzip and zstd are read"
    packed = compression.sniff(head)
    if packed:
        return f"is {packed} inside of a compressed file: decompress it once before"
    other = (
        "a tar archive" if is_tar(head) else next((kind for magic, kind in _OTHERS.items() if magic.match(head)), None)
    )
    if other:
        return f"is {other}, no table"
    wide = wide_encoding(head)
    return f"is in {wide}: save it as UTF-8" if wide else None


def wide_encoding(head: bytes) -> str | None:
    """`UTF-16` or `UTF-32` where a file starts with its byte order mark, or every second byte or more is 0."""
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "UTF-32"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "UTF-16"
    halves = [half.count(0) / max(1, len(half)) for half in (head[::2], head[1::2])]
    if max(halves) < 0.4 or len(head) < 4:
        return None
    return "UTF-32" if min(halves) > 0.4 else "UTF-16" if min(halves) < 0.2 else None
