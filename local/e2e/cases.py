"""The cases: what is submitted, through which call, and what must come of it."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from local.e2e import expected
from local.e2e.client import Client
from local.samples.make import FOLDER

Record = dict[str, Any]
#: File name to content type.
CONTENT_TYPES = {
    "orders.csv": "text/csv",
    "notes.txt": "text/plain",
    "tiles.png": "image/png",
    "events.ndjson.gz": "application/gzip",
}
#: Tasks of the batch call, beside one that is wrong.
BATCH = 25
_DATASET_ROWS = 5000


@dataclass(frozen=True, kw_only=True)
class Case:
    """One thing to try."""

    name: str
    #: The call that it is submitted through, for the table.
    through: str
    #: Submits, and returns the ids of the tasks.
    submit: Callable[[Client], Sequence[str]]
    #: Given the ended records, in the order of the ids: the differences from what must be.
    check: Callable[[Client, Sequence[Record]], list[str]]
    #: Part of the reason with which its tasks must be among the dead letters; None: they must not be there.
    dead_letter: str | None = None


def samples() -> dict[str, bytes]:
    """The sample files by name."""
    return {name: (FOLDER / name).read_bytes() for name in CONTENT_TYPES}


def make(run: str, files: Mapping[str, bytes], *, queues: Sequence[str]) -> list[Case]:
    """The cases of one run.

    Args:
        run: a name of its own for each run: files are below it, and idempotency keys begin with it.
        files: the sample files, uploaded as `RUN/NAME`.
        queues: the names of the queues, the one of the highest priority first.
    """
    return [
        *_file_cases(run, files),
        *_data_cases(run, files, queues=queues),
        Case(
            name="simulated file",
            through="/submit-file-task",
            submit=_one("/submit-file-task", {"filename": f"{run}/never-uploaded.bin", "processing_time": 0.2}),
            check=_all(_succeeded(), _result({"simulated": True, "filename": f"{run}/never-uploaded.bin"})),
        ),
        Case(
            name="missing file",
            through="/submit-file-task",
            submit=_one("/submit-file-task", {"filename": f"{run}/missing.csv"}),
            check=_ended("failed", reason=f"input not found: uploads/{run}/missing.csv"),
            dead_letter=f"input not found: uploads/{run}/missing.csv",
        ),
        Case(
            name="fails twice, then works",
            through="/tasks",
            submit=_one("/tasks", {"task_type": "sample.flaky", "queue": queues[0], "payload": {"failures": 2}}),
            check=_all(_succeeded(outcomes=["failed", "failed", "succeeded"]), _result({"value": 2, "attempt": 3})),
        ),
        Case(
            name="always fails",
            through="/tasks",
            submit=_one(
                "/tasks",
                {"task_type": "sample.failing", "queue": queues[0], "payload": {"message": f"as told by {run}"}},
            ),
            check=_ended("dead", reason=f"as told by {run}", outcomes=["failed", "failed"]),
            dead_letter=f"as told by {run}",
        ),
        Case(
            name="refused by its handler",
            through="/submit-task?queue=",
            submit=_one(
                f"/submit-task?queue={queues[0]}", {"task_type": "sample.reject", "message": f"refused in {run}"}
            ),
            check=_ended("failed", reason=f"refused in {run}", outcomes=["rejected"]),
            dead_letter=f"refused in {run}",
        ),
        Case(
            name="duplicate: same idempotency key",
            through="/tasks",
            submit=lambda client: _duplicate(client, run),
            check=_all(_succeeded(outcomes=["succeeded"]), _result({"value": run, "attempt": 1})),
        ),
        Case(
            name=f"batch of {BATCH}, and one of unknown type",
            through="/tasks:batch",
            submit=_batch,
            check=_check_batch,
        ),
    ]


def _file_cases(run: str, files: Mapping[str, bytes]) -> list[Case]:
    orders, notes, tiles, events = (files[name] for name in CONTENT_TYPES)
    unpacked = gzip.decompress(events)
    lines = [json.loads(line) for line in unpacked.splitlines()]

    def check(name: str, data: bytes, report: Mapping[str, Any], *more: _Check) -> _Check:
        wanted = {"simulated": False, "filename": f"{run}/{name}", **expected.fingerprint(data), **report}
        return _all(_succeeded(), _result(wanted), *more)

    def thumbnail(client: Client, records: Sequence[Record]) -> list[str]:
        size = expected.png_size(client.download(f"processed/{run}/tiles.png.thumbnail.png"))
        width, height = expected.png_size(tiles)
        sound = max(size) <= 256 and abs(size[0] * height - size[1] * width) <= max(width, height)
        return [] if sound else [f"thumbnail of {size}, from {(width, height)}"]

    width, height = expected.png_size(tiles)
    return [
        Case(
            name="CSV file",
            through="/submit-task",
            submit=_one("/submit-task", {"task_type": "file_processing", "filename": f"{run}/orders.csv"}),
            check=check("orders.csv", orders, {"media_type": "text/csv", "table": expected.table(orders)}),
        ),
        Case(
            name="text file",
            through="/submit-file-task",
            submit=_one("/submit-file-task", {"filename": f"{run}/notes.txt", "operations": ["inspect", "compress"]}),
            check=check(
                "notes.txt",
                notes,
                {"media_type": "text/plain", "text": expected.text(notes)},
                _object(f"processed/{run}/notes.txt.gz", gzip.decompress, notes),
            ),
        ),
        Case(
            name="image",
            through="/submit-file-task",
            submit=_one("/submit-file-task", {"filename": f"{run}/tiles.png"}),
            check=check(
                "tiles.png",
                tiles,
                {"media_type": "image/png", "image": {"width": width, "height": height, "format": "png"}},
                thumbnail,
            ),
        ),
        Case(
            name="gzip file",
            through="/submit-file-task",
            submit=_one("/submit-file-task", {"filename": f"{run}/events.ndjson.gz"}),
            check=check(
                "events.ndjson.gz",
                events,
                {
                    "archive": {"format": "gzip", "expanded_bytes": len(unpacked)},
                    "table": {"format": "ndjson", "rows": len(lines), "columns": list(lines[0])},
                },
                _object(f"processed/{run}/events.ndjson", bytes, unpacked),
            ),
        ),
    ]


def _data_cases(run: str, files: Mapping[str, bytes], *, queues: Sequence[str]) -> list[Case]:
    orders = files["orders.csv"]
    functions = {"total": "sum", "mean": "mean", "median": "median", "orders": "count"}
    aggregation = {
        "name": "aggregation",
        "group_by": ["category"],
        "aggregates": {name: {"function": function, "column": "unit_price"} for name, function in functions.items()},
    }
    groups = expected.grouped(orders, by="category", column="unit_price")

    def check_groups(client: Client, records: Sequence[Record]) -> list[str]:
        found = {row["category"]: {name: float(row[name]) for name in functions} for row in _output(client, records[0])}
        if set(found) != set(groups):
            return [f"groups {sorted(found)}, expected {sorted(groups)}"]
        return expected.differences(found, groups)

    def check_normalized(client: Client, records: Sequence[Record]) -> list[str]:
        table = _output(client, records[0])
        unchanged, before = [row["city"] for row in table], [row["city"] for row in expected.rows(orders)]
        lines = [] if unchanged == before else ["the column city has changed"]
        for column in ("quantity", "unit_price"):
            lines += expected.series_differences(
                (float(row[column]) for row in table), expected.normalized(orders, column), column
            )
        return lines

    def check_made_up(client: Client, records: Sequence[Record]) -> list[str]:
        first, second = (_output(client, record) for record in records)
        lines = [] if first == second else ["the same data set, made twice, is not the same"]
        if len(first) != _DATASET_ROWS:
            lines.append(f"{len(first)} rows, expected {_DATASET_ROWS}")
        # The values are not known here; what normalising makes of any values is.
        for column in ("value", "score", "quantity"):
            numbers = [float(row[column]) for row in first]
            if (min(numbers), max(numbers)) != (0.0, 1.0):
                lines.append(f"{column} runs from {min(numbers)} to {max(numbers)}, expected 0 to 1")
            if len(set(numbers)) < 50:
                lines.append(f"{column} has only {len(set(numbers))} different values")
        return lines

    def twice(client: Client) -> list[str]:
        body = {"dataset_size": _DATASET_ROWS, "transformation": "normalize"}
        return [client.submit("/submit-data-task", body)["task_id"] for _ in range(2)]

    return [
        Case(
            name="aggregate a CSV file",
            through="/submit-data-task",
            submit=_one("/submit-data-task", {"source": f"{run}/orders.csv", "transformation": aggregation}),
            check=_all(_succeeded(), _result({"rows_in": len(expected.rows(orders)), "rows_out": 5}), check_groups),
        ),
        Case(
            name="normalize a CSV file",
            through="/tasks",
            submit=_one(
                "/tasks",
                {
                    "task_type": "data_transformation",
                    "queue": queues[-1],
                    "payload": {
                        "source": f"{run}/orders.csv",
                        "transformation": [{"name": "normalize", "columns": ["quantity", "unit_price"]}],
                    },
                },
            ),
            check=_all(_succeeded(), _result({"rows_out": len(expected.rows(orders))}), check_normalized),
        ),
        Case(
            name="made-up data set, twice",
            through="/submit-data-task",
            submit=twice,
            check=_all(_succeeded(), _result({"generated": True, "rows_in": _DATASET_ROWS}), check_made_up),
        ),
    ]


_Check = Callable[[Client, Sequence[Record]], list[str]]


def _one(path: str, body: Mapping[str, Any]) -> Callable[[Client], list[str]]:
    return lambda client: [client.submit(path, body)["task_id"]]


def _all(*checks: _Check) -> _Check:
    def check(client: Client, records: Sequence[Record]) -> list[str]:
        for part in checks:
            lines = part(client, records)
            if lines:  # the later ones build on the earlier ones
                return lines
        return []

    return check


def _succeeded(outcomes: list[str] | None = None) -> _Check:
    return _ended("succeeded", outcomes=outcomes)


def _ended(status: str, *, reason: str | None = None, outcomes: list[str] | None = None) -> _Check:
    def check(client: Client, records: Sequence[Record]) -> list[str]:
        lines = []
        for record in records:
            if record["status"] != status:
                lines.append(f"{record['status']} ({record.get('reason')}), expected {status}")
            elif reason is not None and reason not in (record.get("reason") or ""):
                lines.append(f"reason {record.get('reason')!r}, expected {reason!r} in it")
            found = [attempt["outcome"] for attempt in record.get("attempts", [])]
            if outcomes is not None and _counted(found) != outcomes:
                lines.append(f"attempts {found}, expected {outcomes}")
        return lines

    return check


def _counted(outcomes: list[str]) -> list[str]:
    """Without attempts that the restart of the worker cut short: those are nobody's fault."""
    return [outcome for outcome in outcomes if outcome != "stopped"]


def _result(wanted: Mapping[str, Any]) -> _Check:
    def check(client: Client, records: Sequence[Record]) -> list[str]:
        return [line for record in records for line in expected.differences(client.result(record["task_id"]), wanted)]

    return check


def _object(name: str, unpack: Callable[[bytes], bytes], wanted: bytes) -> _Check:
    def check(client: Client, records: Sequence[Record]) -> list[str]:
        found = unpack(client.download(name))
        return [] if found == wanted else [f"{name}: {len(found)} bytes that are not the {len(wanted)} expected"]

    return check


def _output(client: Client, record: Record) -> list[dict[str, str]]:
    """The rows that a data transformation wrote."""
    data = client.download(client.result(record["task_id"])["output_object"])
    return list(csv.DictReader(io.StringIO(data.decode(), newline="")))


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
    lines = _succeeded()(client, records)
    values = [record["result"]["value"] for record in records if record["status"] == "succeeded"]
    return lines or ([] if values == list(range(BATCH)) else [f"values {values}, expected 0 to {BATCH - 1}"])
