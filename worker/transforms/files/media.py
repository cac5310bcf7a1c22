"""What a file is, by its first bytes; its name decides only between kinds of text."""

from __future__ import annotations

import codecs
import json
import mimetypes
from dataclasses import dataclass
from typing import Literal

import puremagic

from worker.transforms.tables import compression
from worker.transforms.tables.opening import HEAD_BYTES, looks_like_csv, named_format

Kind = Literal["text", "html", "table", "image", "pdf", "zip", "tar", "compressed", "empty", "other"]

_IMAGES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
    b"BM": "image/bmp",
    b"II*\x00": "image/tiff",
    b"MM\x00*": "image/tiff",
}
_TABLES = {
    "csv": "text/csv",
    "ndjson": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}
_COMPRESSED = {"gzip": "application/gzip", "zstd": "application/zstd"}
#: Control characters that texts have: tab, line feed, form feed, carriage return, escape, backspace.
_TEXT_CONTROLS = b"\t\n\f\r\x1b\b"
_BINARY = bytes(byte for byte in range(32) if byte not in _TEXT_CONTROLS)


@dataclass(frozen=True)
class Media:
    """What a file is."""

    kind: Kind
    media_type: str
    #: Of texts: `utf-8`, `utf-16` or `unknown-8bit`.
    encoding: str | None = None


def sniff(head: bytes, name: str) -> Media:
    """What a file is.

    Args:
        head: its first `HEAD_BYTES`, or all of it.
        name: its name, whose ending tells CSV from prose.
    """
    if not head:
        return Media("empty", "application/x-empty")
    return _binary(head) or _text(head, name) or _other(head)


def _binary(head: bytes) -> Media | None:
    for magic, media_type in _IMAGES.items():
        if head.startswith(magic) and not (magic == b"BM" and int.from_bytes(head[6:10], "little")):
            return Media("image", media_type)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return Media("image", "image/webp")
    if b"%PDF-" in head[:1024]:
        return Media("pdf", "application/pdf")
    if head.startswith(b"PAR1"):
        return Media("table", _TABLES["parquet"])
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return Media("zip", "application/zip")
    if head[257:262] == b"ustar":
        return Media("tar", "application/x-tar")
    packed = compression.sniff(head)
    return Media("compressed", _COMPRESSED[packed]) if packed else None


def _text(head: bytes, name: str) -> Media | None:
    encoding = text_encoding(head)
    if encoding is None:
        return None
    start = head[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return Media("html", "text/html", encoding)
    form = named_format(name)
    if encoding == "utf-8":
        if form in {None, "ndjson"} and _is_ndjson(head, named=form == "ndjson"):
            return Media("table", _TABLES["ndjson"], encoding)
        if form == "csv" or (form is None and "." not in name.rpartition("/")[2] and looks_like_csv(head)):
            return Media("table", _TABLES["csv"], encoding)
        if start.startswith((b"{", b"[")) and not name.lower().endswith((".txt", ".md")):
            return Media("text", "application/json", encoding)
    elif form == "csv":
        return Media("table", _TABLES["csv"], encoding)
    named, _ = mimetypes.guess_type(name)
    is_text = named is not None and (named.startswith("text/") or named in {"application/json", "application/xml"})
    return Media("text", str(named) if is_text and named != "text/html" else "text/plain", encoding)


def _other(head: bytes) -> Media:
    try:
        found = puremagic.magic_string(head)
    except puremagic.PureError:
        found = []
    best = next((match.mime_type for match in found if match.mime_type and match.confidence >= 0.4), None)
    return Media("other", best or "application/octet-stream")


def text_encoding(head: bytes) -> str | None:
    """The encoding of a text; None where it is none."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if head.translate(None, delete=_BINARY) != head:
        return None
    try:
        # A character that the head's end cuts through is no error.
        codecs.getincrementaldecoder("utf-8")().decode(head, final=len(head) < HEAD_BYTES)
    except UnicodeDecodeError:
        return "unknown-8bit"
    return "utf-8"


def _is_ndjson(head: bytes, *, named: bool) -> bool:
    lines = [line for line in head.split(b"\n") if line.strip()]
    if len(lines) < (1 if named else 2):
        return named  # one object alone is plain JSON, unless its name says otherwise
    try:
        return isinstance(json.loads(lines[0].removeprefix(codecs.BOM_UTF8)), dict)
    except (ValueError, RecursionError):
        return named
