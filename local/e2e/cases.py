"""All cases of a run: what is submitted, through which call, and what must come of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from local.e2e import data_cases, file_cases
from local.samples.make import FOLDER
from poolhouse.client.schema import Payload
from poolhouse.local.e2e.case import Case, Record, all_of, ended, one, result, succeeded
from poolhouse.local.e2e.client import Client

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
#: Task types with cases of their own; the local stack's samples are the others.
_SHIPPED, _SAMPLES = frozenset({"file_processing", "data_transformation"}), "sample."
#: Names of the cases of a quick run: both task types that ship, a dead letter, an idempotency key.
QUICK = frozenset(
    {
        *("CSV file", "aggregate a CSV file", "refused by its handler"),
        "duplicate: same idempotency key",
    }
)
#: Tasks of the batch call, beside one that is wrong.
BATCH = 25


def samples() -> dict[str, bytes]:
    """The sample files by name."""
    files = {path.name: path.read_bytes() for path in FOLDER.iterdir()}
    header, *rows = files["orders.csv"].splitlines(keepends=True)
    # Cut where an order begins: some notes have a line break.
    half = next(index for index in range(len(rows) // 2, len(rows)) if re.match(rb"\d+,", rows[index]))
    parts = (b"".join((header, *rows[:half])), b"".join((header, *rows[half:])))
    return files | dict(zip(data_cases.PARTS, parts, strict=True)) | {"notes.txt.zst": _zstd(files["notes.txt"])}


def make(run: str, files: Mapping[str, bytes], *, queues: Sequence[str], payloads: Sequence[Payload]) -> list[Case]:
    """The cases of one run.

    Args:
        run: a name of its own for each run: files are below it, and idempotency keys begin with it.
        files: the sample files, uploaded as `RUN/NAME`.
        queues: the names of the queues, the one of the highest priority first.
        payloads: those of the task types that the API knows.
    """
    return [
        *file_cases.make_cases(run, files),
        *data_cases.make_cases(run, files, queues=queues),
        *(_own(payload, f"{run}/notes.txt") for payload in payloads if _is_own(payload.task_type)),
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
        Case(
            name="fails twice, then works",
            through="/tasks",
            submit=one("/tasks", {"task_type": "sample.flaky", "queue": queues[0], "payload": {"failures": 2}}),
            check=all_of(succeeded(outcomes=["failed", "failed", "succeeded"]), result({"value": 2, "attempt": 3})),
        ),
        Case(
            name="always fails",
            through="/tasks",
            submit=one(
                "/tasks",
                {"task_type": "sample.failing", "queue": queues[0], "payload": {"message": f"as told by {run}"}},
            ),
            check=ended("dead", reason=f"as told by {run}", outcomes=["failed", "failed"]),
            dead_letter=f"as told by {run}",
        ),
        Case(
            name="refused by its handler",
            through="/submit-task?queue=",
            submit=one(
                f"/submit-task?queue={queues[0]}", {"task_type": "sample.reject", "message": f"refused in {run}"}
            ),
            check=ended("failed", reason=f"refused in {run}", outcomes=["rejected"]),
            dead_letter=f"refused in {run}",
        ),
        Case(
            name="duplicate: same idempotency key",
            through="/tasks",
            submit=lambda client: _duplicate(client, run),
            check=all_of(succeeded(outcomes=["succeeded"]), result({"value": run, "attempt": 1})),
        ),
        Case(
            name=f"batch of {BATCH}, and one of unknown type",
            through="/tasks:batch",
            submit=_batch,
            check=_check_batch,
        ),
    ]


def _is_own(task_type: str) -> bool:
    """Whether it is neither one that ships nor one of the local stack's."""
    return task_type not in _SHIPPED and not task_type.startswith(_SAMPLES)


def _own(payload: Payload, upload: str) -> Case:
    """A task type of the project's own, with the example of its payload; what must come of it, only its tests know.

    Fields of the example that name an upload name this one.
    """
    uploads = {name: upload for name in payload.upload_fields if name in payload.example}
    body = {"task_type": payload.task_type, "payload": {**payload.example, **uploads}}
    return Case(
        name=f"{payload.task_type}: its example", through="/tasks", submit=one("/tasks", body), check=succeeded()
    )


def _zstd(data: bytes) -> bytes:
    """A zstd frame of one raw block. RFC 8878, 3.1.1: no checksum, single segment, size in four bytes."""
    size = len(data)
    return b"\x28\xb5\x2f\xfd\xa0" + size.to_bytes(4, "little") + (size << 3 | 1).to_bytes(3, "little") + data


def _duplicate(client: Client, run: str) -> list[str]:
    body = {"task_type": "sample.echo", "payload": {"value": run}}
    key = f"{run}-key"
    ids = [client.submit("/tasks", body, key=key)["task_id"] for _ in range(3)]
    client.submit("/tasks", {**body, "payload": {"value": "other"}}, key=key, expect=(409,))
    return sorted(set(ids))


def _batch(client: Client) -> list[str]:
    tasks = [{"task_type": "sample.echo", "payload": {"value": number}} for number in range(BATCH)]
    answer = client.submit("/tasks:batch", {"tasks": [*tasks, {"task_type": "sample.unheard-of"}]})
    return [entry.get("task_id") or f"{entry['status']} {entry['code']}" for entry in answer["tasks"]][:BATCH]


def _check_batch(client: Client, records: Sequence[Record]) -> list[str]:
    lines = succeeded()(client, records)
    values = [record["result"]["value"] for record in records if record["status"] == "succeeded"]
    return lines or ([] if values == list(range(BATCH)) else [f"values {values}, expected 0 to {BATCH - 1}"])
