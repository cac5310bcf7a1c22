"""`file_processing`: looks into a file of `uploads/`, and makes other files of it in `processed/`."""

from __future__ import annotations

from poolhouse import TaskContext, task
from worker.transforms.files.contract import FileProcessing
from worker.transforms.files.report import FileReport


@task("file_processing")
def file_processing(payload: FileProcessing, ctx: TaskContext) -> FileReport:
    """Inspect, compress, convert a file, or make a thumbnail or a plain text of it.

    The report is also kept as `processed/NAME.report.json`. Files of any size: memory does not grow with them, scratch
    space on disk does (see `worker.transforms.files.spool`).
    """
    # The libraries behind it cost a second to import; the API imports this module too, for the payload.
    from worker.transforms.files.processing import process  # noqa: PLC0415

    return process(payload, ctx)
