"""The cases of `file_processing`: every operation on a sample file that it fits."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from local.e2e import expected
from local.samples import make
from poolhouse.local.e2e.case import Case, Check, Record, all_of, content, one, result, succeeded
from poolhouse.local.e2e.client import Client


def make_cases(run: str, files: Mapping[str, bytes]) -> list[Case]:
    """The cases; the files lie in the bucket as `RUN/NAME`."""
    orders, notes, tiles, events = (
        files[name] for name in ("orders.csv", "notes.txt", "tiles.png", "events.ndjson.gz")
    )
    unpacked = gzip.decompress(events)
    lines = [json.loads(line) for line in unpacked.splitlines()]
    width, height = expected.png_size(tiles)
    typed = expected.typed(orders)

    def case(name: str, file: str, report: Mapping[str, Any], *checks: Check, operations: Any = None) -> Case:
        """All operations that fit the file, unless some are named."""
        body = {"filename": f"{run}/{file}"} | ({} if operations is None else {"operations": operations})
        wanted = {"simulated": False, "filename": f"{run}/{file}", **expected.fingerprint(files[file]), **report}
        return Case(
            name=name,
            through="/submit-file-task",
            submit=one("/submit-file-task", body),
            check=all_of(succeeded(), result(wanted), *checks),
        )

    def made(file: str, unpack: Callable[[bytes], Any], wanted: Any) -> Check:
        return content(f"processed/{run}/{file}", unpack, wanted)

    return [
        case(
            "CSV file",
            "orders.csv",
            {"media_type": "text/csv", "table": expected.table(orders)},
            made("orders.csv.gz", gzip.decompress, orders),
            made("orders.csv.parquet", _read_parquet, typed),
        ),
        case(
            "CSV file to zstd, NDJSON and CSV",
            "orders.csv",
            {"operations": ["compress", "convert", "convert"]},
            made("orders.csv.zst", _unpack_zstd, orders),
            made("orders.csv.ndjson", lambda data: [json.loads(line) for line in data.splitlines()], typed),
            made("orders.csv.csv", expected.typed, typed),
            operations=[
                {"name": "compress", "format": "zstd"},
                {"name": "convert", "to": "ndjson"},
                {"name": "convert", "to": "csv"},
            ],
        ),
        case(
            "text file",
            "notes.txt",
            {"media_type": "text/plain", "text": expected.text(notes)},
            made("notes.txt.gz", gzip.decompress, notes),
            made("notes.txt.txt", bytes, notes),
            operations=["inspect", "compress", "extract_text"],
        ),
        case(
            "zstd file",
            "notes.txt.zst",
            {"media_type": "application/zstd", "archive": {"format": "zstd", "expanded_bytes": len(notes)}},
            made("notes.txt", bytes, notes),
        ),
        case(
            "gzip file",
            "events.ndjson.gz",
            {
                "archive": {"format": "gzip", "expanded_bytes": len(unpacked)},
                "table": {"format": "ndjson", "rows": len(lines), "columns": list(lines[0])},
            },
            made("events.ndjson", bytes, unpacked),
            made("events.ndjson.gz.parquet", _read_parquet, lines),
        ),
        case(
            "image",
            "tiles.png",
            {"media_type": "image/png", "image": {"width": width, "height": height, "format": "png", "orientation": 1}},
            _thumbnail(f"processed/{run}/tiles.png.thumbnail.png", of=(width, height)),
        ),
        case(
            "HTML page",
            "page.html",
            {"media_type": "text/html", "text": expected.text(files["page.html"])},
            made("page.html.txt", bytes.decode, make.PAGE_TEXT),
        ),
        case(
            "PDF document",
            "paper.pdf",
            {
                "media_type": "application/pdf",
                "pdf": {"pages": len(make.PAPER), "title": make.PAPER_TITLE, "encrypted": False},
            },
            made("paper.pdf.txt", lambda data: tuple(map(str.strip, data.decode().split("\f"))), make.PAPER),
        ),
    ]


def _thumbnail(name: str, *, of: tuple[int, int]) -> Check:
    """Whether a thumbnail is small enough, and of the shape of its image."""

    def check(client: Client, records: Sequence[Record]) -> list[str]:
        width, height = expected.png_size(client.download(name))
        sound = max(width, height) <= 256 and abs(width * of[1] - height * of[0]) <= max(of)
        return [] if sound else [f"thumbnail of {(width, height)}, from {of}"]

    return check


def _read_parquet(data: bytes) -> list[dict[str, Any]]:
    import polars as pl  # noqa: PLC0415 - takes long to import

    return pl.read_parquet(io.BytesIO(data)).to_dicts()


def _unpack_zstd(data: bytes) -> bytes:
    import zstandard  # noqa: PLC0415

    return zstandard.ZstdDecompressor().decompressobj().decompress(data)
