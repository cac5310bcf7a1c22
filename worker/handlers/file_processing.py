"""`file_processing`: looks into a file of `uploads/`, and makes other files of it in `processed/`."""

from __future__ import annotations

from pydantic import Field

from poolhouse.pipeline.names import FileName
from poolhouse.worker.context import TaskContext
from poolhouse.worker.registry import Payload, task
from worker.transforms.files.operations import Operations
from worker.transforms.files.report import FileReport


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


@task("file_processing")
def file_processing(payload: FileProcessing, ctx: TaskContext) -> FileReport:
    """Inspect, compress, convert a file, or make a thumbnail or a plain text of it.

    The report is also kept as `processed/NAME.report.json`. Files of any size: memory does not grow with them, scratch
    space on disk does (see `worker.transforms.files.spool`).
    """
    # The libraries behind it cost a second to import; the API imports this module too, for the payload.
    from worker.transforms.files.processing import process  # noqa: PLC0415

    return process(payload, ctx)
