"""The report of a file task."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True)


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
    """A PDF document. An encrypted one shows neither pages nor title."""

    pages: int | None
    title: str | None
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
    #: Of texts: `utf-8` (ASCII is that too), `utf-16`, or `unknown-8bit`.
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
