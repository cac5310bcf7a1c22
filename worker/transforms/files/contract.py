"""What file processing is given; what it reports is in `worker.transforms.files.report`."""

from __future__ import annotations

from pydantic import Field

from poolhouse import Payload
from poolhouse.pipeline.names import FileName
from worker.transforms.files.operations import Operations


class FileProcessing(Payload):
    """Which file, and what to do with it."""

    filename: FileName = Field(description="A file below `uploads/`.", examples=["reports/2026-11.csv"])
    operations: Operations = Field(
        default=None,
        description="What to do, by name or with parameters; left out: all that fits the file. Always: size, SHA-256, "
        "CRC32C and media type.",
        examples=[["inspect", {"name": "convert", "to": "parquet"}]],
    )
    processing_time: float | None = Field(
        default=None,
        strict=True,
        ge=0,
        le=3600,
        allow_inf_nan=False,
        description="In seconds. Without such a file, the task simulates work of that length and says so in its "
        "report; with one, this has no effect.",
        examples=[2.5],
    )
