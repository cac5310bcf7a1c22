"""The e2e cases of this application: what is submitted, through which call, and what must come of it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from local.e2e import data_cases, file_cases
from local.samples.make import FOLDER
from poolhouse.local.e2e.case import Case, all_of, ended, one, result, succeeded
from poolhouse.local.e2e.project import File

#: Every operation and step of these task types must have run.
EVERY_KIND_OF = ("file_processing", "data_transformation")
#: File name to content type.
CONTENT_TYPES = {
    "orders.csv": "text/csv",
    "notes.txt": "text/plain",
    "tiles.png": "image/png",
    "events.ndjson.gz": "application/gzip",
    "page.html": "text/html",
    "paper.pdf": "application/pdf",
    "notes.txt.zst": "application/zstd",
    **dict.fromkeys(data_cases.PARTS, "text/csv"),
}
#: Names of the cases of a quick run: both task types.
QUICK = frozenset({"CSV file", "aggregate a CSV file"})


def files() -> dict[str, File]:
    """Return the sample files by name."""
    return {name: File(data=data, content_type=CONTENT_TYPES[name]) for name, data in samples().items()}


def samples() -> dict[str, bytes]:
    """The sample files by name."""
    files = {path.name: path.read_bytes() for path in FOLDER.iterdir()}
    header, *rows = files["orders.csv"].splitlines(keepends=True)
    # Cut where an order begins: some notes have a line break.
    half = next(index for index in range(len(rows) // 2, len(rows)) if re.match(rb"\d+,", rows[index]))
    parts = (b"".join((header, *rows[:half])), b"".join((header, *rows[half:])))
    return files | dict(zip(data_cases.PARTS, parts, strict=True)) | {"notes.txt.zst": _zstd(files["notes.txt"])}


def cases(run: str, *, queues: Sequence[str]) -> list[Case]:
    """Return the cases of one run; its files are below `RUN/`."""
    made = samples()
    return [
        *file_cases.make_cases(run, made),
        *data_cases.make_cases(run, made, queues=queues),
        Case(
            name="simulated file",
            through="/submit-file-task",
            submit=one("/submit-file-task", {"filename": f"{run}/never-uploaded.bin", "processing_time": 0.2}),
            check=all_of(succeeded(), result({"simulated": True, "filename": f"{run}/never-uploaded.bin"})),
        ),
        Case(
            name="missing file",
            through="/submit-file-task",
            submit=one("/submit-file-task", {"filename": f"{run}/missing.csv"}),
            check=ended("failed", reason=f"input not found: uploads/{run}/missing.csv"),
            dead_letter=f"input not found: uploads/{run}/missing.csv",
        ),
    ]


def _zstd(data: bytes) -> bytes:
    """A zstd frame of one raw block. RFC 8878, 3.1.1: no checksum, single segment, size in four bytes."""
    size = len(data)
    return b"\x28\xb5\x2f\xfd\xa0" + size.to_bytes(4, "little") + (size << 3 | 1).to_bytes(3, "little") + data
