"""The report of a file task."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator


def _readable(value: Any) -> Any:
    """Texts as UTF-8 has them: names in archives and titles may hold bytes or half characters that it has not."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape" if _is_escaped(value) else "replace").decode("utf-8", "replace")
    if isinstance(value, list):
        return [_readable(part) for part in value]
    return value


def _is_escaped(value: str) -> bool:
    return all(not "\ud800" <= character <= "\udfff" or "\udc80" <= character <= "\udcff" for character in value)


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _in_utf8(cls, value: Any) -> Any:
        return _readable(value)


class TextReport(_Section):
    """A text, in whatever language."""

    #: Line breaks, and one more where the last line has none.
    lines: int
    #: Runs of characters that are no white space.
    words: int
    #: Length of the longest line, in characters.
    longest_line: int


class TableReport(_Section):
    """CSV, NDJSON or Parquet, also inside gzip or zstd."""

    #: `csv`, `ndjson` or `parquet`.
    format: str
    rows: int
    columns: list[str]
    #: By column: `int64`, `float64`, `string`, `boolean` and so on; `null` where no row has a value.
    types: dict[str, str]
    null_counts: dict[str, int]
    #: Least and greatest value by column; null for lists and objects.
    min: dict[str, Any]
    max: dict[str, Any]


class ImageReport(_Section):
    """An image, from its header."""

    width: int
    height: int
    #: `png`, `jpeg`, `gif`, `webp`, `bmp` or `tiff`.
    format: str
    #: EXIF orientation, 1 to 8; 1 is upright, and what an image without EXIF has.
    orientation: int


class PdfReport(_Section):
    """A PDF document. One that takes a password to open shows neither pages nor title."""

    pages: int | None
    title: str | None
    #: Whether it is encrypted, also where its text can be read without a password.
    encrypted: bool


class ArchiveReport(_Section):
    """zip, tar, gzip or zstd."""

    format: str
    entries: int
    #: The first 100 names.
    names: list[str]
    expanded_bytes: int


class FileReport(BaseModel):
    """What a file task found and made; also kept as `processed/NAME.report.json`.

    The sections `text`, `table`, `image`, `pdf` and `archive` are filled where the file is of that kind.
    """

    model_config = ConfigDict(frozen=True)

    filename: str
    #: True where there was no file and the task only took its `processing_time`: then all below is empty.
    simulated: bool
    #: Names of the operations that ran, in order.
    operations: list[str] = []
    size_bytes: int | None = None
    #: In hexadecimal digits.
    sha256: str | None = None
    #: Big-endian, in base64: as Cloud Storage shows it.
    crc32c: str | None = None
    #: By the file's content, by its name only where that tells more.
    media_type: str | None = None
    #: Of texts: `utf-8` (ASCII is that too), `utf-16`, `unknown-8bit`, or what an HTML page declares (`cp1251`).
    encoding: str | None = None
    text: TextReport | None = None
    table: TableReport | None = None
    image: ImageReport | None = None
    pdf: PdfReport | None = None
    archive: ArchiveReport | None = None
    #: Names of the objects made.
    outputs: list[str] = []
    #: The whole task, in seconds.
    duration_s: float
    #: Of it, reading from and writing to storage.
    transfer_s: float = 0.0
