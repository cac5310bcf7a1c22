"""What a file is, by its first bytes; its name decides only between kinds of text."""

from __future__ import annotations

import codecs
import json
import mimetypes
from dataclasses import dataclass
from typing import Literal

import puremagic

from worker.transforms.files import html
from worker.transforms.files.html import HTML_HEAD_BYTES
from worker.transforms.tables import compression
from worker.transforms.tables.opening import HEAD_BYTES, looks_like_csv, named_format
from worker.transforms.tables.signatures import is_parquet, is_tar

Kind = Literal["text", "html", "table", "image", "pdf", "zip", "tar", "compressed", "empty", "other"]

_IMAGES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
    b"BM": "image/bmp",
    b"II*\x00": "image/tiff",
    b"MM\x00*": "image/tiff",
    b"II+\x00": "image/tiff",
    b"MM\x00+": "image/tiff",
}
#: Known by their first bytes, and not looked into.
_OTHERS = {
    b"\x00\x00\x00\x0cjP  \r\n\x87\n": "image/jp2",
    b"\xff\x4f\xff\x51\x00": "image/j2c",
    b"\x00\x00\x00\x0cJXL \r\n\x87\n": "image/jxl",
    b"\xff\x0a": "image/jxl",
    b"8BPS\x00\x01": "image/vnd.adobe.photoshop",
    b"\x00\x00\x01\x00": "image/vnd.microsoft.icon",
    b"BZh": "application/x-bzip2",
    b"\xfd7zXZ\x00": "application/x-xz",
    b"7z\xbc\xaf\x27\x1c": "application/x-7z-compressed",
    b"\x04\x22\x4d\x18": "application/x-lz4",
    b"SQLite format 3\x00": "application/vnd.sqlite3",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "application/x-ole-storage",
    b"\x7fELF": "application/x-elf",
    b"fLaC": "audio/flac",
    b"OggS\x00": "application/ogg",
}
#: The brand of a file in the ISO base media format (ISO/IEC 14496-12, 4.3), and what it is.
_BRANDS = {b"avif": "image/avif", b"avis": "image/avif", b"heic": "image/heic", b"heix": "image/heic"} | {
    b"mif1": "image/heif",
    b"qt  ": "video/quicktime",
    b"M4A ": "audio/mp4",
}
_JPEG_2000_BRANDS = {b"jpx ": "image/jpx", b"jpm ": "image/jpm", b"mjp2": "video/mj2"}
_TABLES = {
    "csv": "text/csv",
    "ndjson": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}
_COMPRESSED = {"gzip": "application/gzip", "zstd": "application/zstd"}
_RTF = b"{\\rtf"
#: What Python itself says of endings: the machine's own list would make the answer depend on the machine.
_BY_ENDING = mimetypes.MimeTypes()
#: Control characters that texts have: tab, line feed, form feed, carriage return, escape, backspace.
_TEXT_CONTROLS = b"\t\n\f\r\x1b\b"
_BINARY = bytes(byte for byte in range(32) if byte not in _TEXT_CONTROLS)


@dataclass(frozen=True)
class Media:
    """What a file is."""

    kind: Kind
    media_type: str
    #: Of texts: `utf-8`, `utf-16`, `unknown-8bit`, or what an HTML page declares.
    encoding: str | None = None


def sniff(head: bytes, name: str) -> Media:
    """What a file is.

    Args:
        head: its first `HEAD_BYTES`, or all of it.
        name: its name, whose ending tells CSV from prose.
    """
    if not head:
        return Media("empty", "application/x-empty")
    encoding = text_encoding(head)
    # Letters alone make no image or archive: a text may begin with BM or mention %PDF-.
    return _binary(head, is_text=encoding is not None) or _text(head, name, encoding) or _other(head, name)


def _binary(head: bytes, *, is_text: bool) -> Media | None:
    if head[:1024].lstrip(b"\xef\xbb\xbf \t\r\n\0").startswith(b"%PDF-") or (b"%PDF-" in head[:1024] and not is_text):
        return Media("pdf", "application/pdf")
    if is_parquet(head):
        return Media("table", _TABLES["parquet"])
    packed = compression.sniff(head)
    if packed:
        return Media("compressed", _COMPRESSED[packed])
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return Media("zip", "application/zip")
    for magic, media_type in _IMAGES.items():
        if head.startswith(magic) and not (magic == b"BM" and int.from_bytes(head[6:10], "little")):
            if is_text and magic.isalnum():
                continue
            return Media("image", media_type)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return Media("image", "image/webp")
    return Media("tar", "application/x-tar") if is_tar(head) else None


def _text(head: bytes, name: str, encoding: str | None) -> Media | None:
    form = named_format(name)
    if encoding is None:
        # Its name says that it is a table, and but for some control characters, so do its bytes.
        return Media("table", _TABLES[form], "utf-8") if form in {"csv", "ndjson"} and _is_utf8(head) else None
    if encoding == "utf-16":
        start = head[:2048].decode("utf-16", "replace").encode()
    else:
        start = head[:HTML_HEAD_BYTES].removeprefix(codecs.BOM_UTF8)
    if html.is_page(start, name):
        return Media("html", "text/html", html.declared_encoding(start) if encoding == "unknown-8bit" else encoding)
    if encoding == "utf-8":
        if form in {None, "ndjson"} and _is_ndjson(head, named=form == "ndjson"):
            return Media("table", _TABLES["ndjson"], encoding)
        if form == "csv" or (form is None and "." not in name.rpartition("/")[2] and looks_like_csv(head)):
            return Media("table", _TABLES["csv"], encoding)
        if start.startswith(_RTF):
            return Media("text", "text/rtf", encoding)
        if _is_json(head) and not name.lower().endswith((".txt", ".md")):
            return Media("text", "application/json", encoding)
    elif form in {"csv", "ndjson"}:
        return Media("table", _TABLES[form], encoding)
    named, _ = _BY_ENDING.guess_type(name)
    is_text = named is not None and (
        named.startswith("text/") or named in {"application/json", "application/xml"} or named.endswith("+xml")
    )
    return Media("text", str(named) if is_text and named != "text/html" else "text/plain", encoding)


def _other(head: bytes, name: str) -> Media:
    if head.startswith(b"\x00\x00\x00\x0cjP  ") and head[20:24] in _JPEG_2000_BRANDS:
        return Media("other", _JPEG_2000_BRANDS[head[20:24]])
    known = next((media_type for magic, media_type in _OTHERS.items() if head.startswith(magic)), None)
    if known:
        return Media("other", known)
    if head[4:8] == b"ftyp":
        return Media("other", _BRANDS.get(head[8:12], "video/mp4"))
    try:
        found = puremagic.magic_string(head)
    except (puremagic.PureError, ValueError, LookupError, TypeError, OSError):
        found = []
    best = next((match.mime_type for match in found if match.mime_type and match.confidence >= 0.4), "")
    # What has a name of its own above, or is no text, and is none of it, puremagic takes for that by fewer bytes.
    is_known = best and best not in _IMAGES.values() and not best.startswith("text/")
    return Media("other", best if is_known else "application/octet-stream")


def text_encoding(head: bytes) -> str | None:
    """The encoding of a text; None where it is none."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and not head.startswith(codecs.BOM_UTF32_LE):
        return "utf-16"
    if head.translate(None, delete=_BINARY) != head:
        return None
    return "utf-8" if _is_utf8(head) else "unknown-8bit"


def _is_utf8(head: bytes) -> bool:
    try:
        # A character that the head's end cuts through is no error.
        codecs.getincrementaldecoder("utf-8")().decode(head, final=len(head) < HEAD_BYTES)
    except UnicodeDecodeError:
        return False
    return True


def _is_json(head: bytes) -> bool:
    """Whether a text is a JSON object or array, as far as the head goes; `[section]` begins an INI file."""
    text = head.removeprefix(codecs.BOM_UTF8).decode(errors="ignore").lstrip()
    if not text.startswith(("{", "[")):
        return False
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        # Where the head is cut off: in a text, or at its end.
        is_at_end = error.msg.startswith("Unterminated string") or error.pos > len(text) - len("-Infinity")
        return len(head) >= HEAD_BYTES and is_at_end
    except (ValueError, RecursionError):
        return True
    return True


def _is_ndjson(head: bytes, *, named: bool) -> bool:
    lines = [line for line in head.split(b"\n") if line.strip()]
    if len(head) >= HEAD_BYTES and len(lines) > 1:
        lines.pop()  # it may be cut off
    if len(lines) < (1 if named else 2):
        return named  # one object alone is plain JSON, unless its name says otherwise
    try:
        return isinstance(json.loads(lines[0].removeprefix(codecs.BOM_UTF8)), dict)
    except (ValueError, RecursionError):
        return named
