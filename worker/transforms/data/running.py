"""One data transformation from source to output object."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from poolhouse.pipeline import names
from poolhouse.pipeline.errors import ObjectNotFound
from poolhouse.pipeline.store import ObjectInfo
from poolhouse.worker.context import TaskContext
from poolhouse.worker.errors import Interrupted, Reject
from worker.transforms.data.contract import ColumnStatistics, DataSummary, DataTransformation, Statistics
from worker.transforms.data.dataset import GeneratedTable
from worker.transforms.data.joined import JoinedTable
from worker.transforms.data.limits import each
from worker.transforms.data.plan import Plan, plan
from worker.transforms.data.steps import Cast, Step
from worker.transforms.files.spool import Spooled, scratch, spool, upload
from worker.transforms.tables.measuring import measure
from worker.transforms.tables.opening import find_table, open_table
from worker.transforms.tables.summary import Summary
from worker.transforms.tables.table import Format, Table
from worker.transforms.tables.writers import MEDIA_TYPES, write_frame, write_lazy

#: Files that a source folder may hold.
MAX_FILES = 10_000
#: Frames of fewer rows are what filters left of larger ones.
SMALL_FRAME_ROWS = 1_000
_COPIED_TEXTS = pl.col(pl.String) + ""


def transform(payload: DataTransformation, ctx: TaskContext) -> DataSummary:
    """Run the task. Raises `Reject` where the payload does not fit the data."""
    started = time.perf_counter()
    with scratch() as directory:
        inputs = _inputs(payload.source, ctx, directory) if payload.source is not None else {}
        table = _table(payload, inputs)
        measured = measure(table, _watch(ctx, "measuring"))
        if measured.summary.rows == 0:
            raise Reject(f"{payload.source} has a header, but no rows")
        steps = plan(measured, _watch(ctx, "transforming"))
        for step in payload.transformation:
            ctx.checkpoint()
            steps = steps.then(step)
        output_format: Format = payload.output_format or _format_of(table)
        output = directory / "output"
        after = _write(steps, output, output_format, ctx)
        write_started = time.perf_counter()
        output_object = names.result("data_transform", ctx.task_id, suffix=f".{output_format}")
        size_bytes = upload(ctx, output_object, output, content_type=MEDIA_TYPES[output_format])
        ended = time.perf_counter()
    return DataSummary(
        source=payload.source,
        inputs=list(inputs),
        generated=payload.source is None,
        transformations=[step.name for step in payload.transformation],
        rows_in=measured.summary.rows,
        rows_out=after.rows,
        columns=list(after.columns),
        statistics=Statistics(before=_statistics(measured.summary), after=_statistics(after)),
        output_object=output_object,
        output_format=output_format,
        input_bytes=sum(spooled.size_bytes for spooled in inputs.values()),
        size_bytes=size_bytes,
        duration_s=round(ended - started, 3),
        transfer_s=round(sum(spooled.duration_s for spooled in inputs.values()) + ended - write_started, 3),
    )


def _inputs(source: str, ctx: TaskContext, directory: Path) -> dict[str, Spooled]:
    """The objects of the source by name, on local disk."""
    inputs: dict[str, Spooled] = {}
    for name in _objects(source, ctx):
        try:
            inputs[name] = spool(ctx, name, directory / f"input-{len(inputs)}")
        except ObjectNotFound:
            raise Reject(f"input not found: {name}") from None
    return inputs


def _table(payload: DataTransformation, inputs: Mapping[str, Spooled]) -> Table:
    if payload.dataset_size is not None:
        return GeneratedTable(payload.dataset_size)
    opened = (open_table(find_table(spooled.path, name)) for name, spooled in inputs.items())
    tables = [_with_texts(table, payload.transformation) for table in opened]
    return tables[0] if len(tables) == 1 else JoinedTable.of(tables, list(inputs))


def _with_texts(table: Table, steps: Sequence[Step]) -> Table:
    """A CSV with the columns that are made texts first of all read as they stand there: 1.10 is no 1.1 then."""
    targets: dict[str, str] = {}
    for step in itertools.takewhile(lambda step: isinstance(step, Cast), steps):
        targets = step.columns | targets if isinstance(step, Cast) else targets
    texts = {name: pl.String() for name, kind in targets.items() if kind == "string" and name in table.types}
    if not texts or table.format != "csv":
        return table
    return table.of_types({**table.types, **texts}) or table


def _objects(source: str, ctx: TaskContext) -> list[str]:
    if not source.endswith("/"):
        return [names.upload(source)]
    prefix, found, token = names.upload(source.removesuffix("/")) + "/", [], None
    while True:
        page = ctx.store.list(prefix, page_token=token)
        found += [item.name for item in page.objects if not _is_marker(item, prefix)]
        if len(found) > MAX_FILES:
            raise Reject(f"{prefix} holds more than {MAX_FILES} files")
        token = page.next_token
        if token is None:
            break
        ctx.checkpoint()
    if not found:
        raise Reject(f"input not found: {prefix} holds no files")
    return found


def _is_marker(item: ObjectInfo, prefix: str) -> bool:
    """Whether an object is no file of the folder's maker: a folder itself, or what Spark and Hive leave out too."""
    name = item.name.removeprefix(prefix).rpartition("/")[2]
    # .part-0.csv.crc, .DS_Store; _SUCCESS is empty, while _orders.csv holds rows.
    return not name or name.startswith(".") or (name.startswith("_") and item.size_bytes == 0)


def _format_of(table: Table) -> Format:
    return "csv" if table.format == "generated" else table.format


def _write(steps: Plan, path: Path, output_format: Format, ctx: TaskContext) -> Summary:
    """Run the plan into a file; the figures of what it holds."""
    types = steps.types
    # What is known of columns that no step has changed holds for the output too.
    known = steps.summary.columns if steps.summary else {}
    changed = [name for name in types if name not in known]
    rows, summary, lock = 0, Summary(), threading.Lock()
    ended: Interrupted | None = None
    summary.add(pl.DataFrame(schema={name: types[name] for name in changed}))
    if steps.is_small:
        for frame in steps.frames():
            ctx.checkpoint()
            rows = frame.height
            summary.add(frame.select(changed))
            write_frame(frame, path, output_format)
        return Summary(rows=rows, columns={name: known.get(name) or summary.columns[name] for name in types})

    def count(frame: pl.DataFrame) -> pl.DataFrame:
        nonlocal rows, ended
        # The engine may call from several threads. Once one was told to end, none asks again or counts on; the order of
        # frames makes no difference to the figures.
        with lock:
            if ended is not None:
                raise ended
            try:
                ctx.checkpoint()
            except Interrupted as interruption:
                ended = interruption
                raise
            rows += frame.height
            summary.add(frame.select(changed))
        # A few filtered texts would keep the memory of all texts of their block until they are written: copy them.
        return frame.with_columns(_COPIED_TEXTS) if frame.height < SMALL_FRAME_ROWS else frame

    write_lazy(each(steps.rows, count), path, output_format)
    return Summary(rows=rows, columns={name: known.get(name) or summary.columns[name] for name in types})


def _watch(ctx: TaskContext, note: str):  # type: ignore[no-untyped-def]
    def watch(done_bytes: int, total_bytes: int) -> None:
        ctx.progress(done_bytes, total_bytes, note)
        ctx.checkpoint()

    return watch


def _statistics(summary: Summary) -> dict[str, ColumnStatistics]:
    return {
        name: ColumnStatistics(
            type=column.type,
            nulls=column.nulls,
            not_finite=column.not_finite,
            min=column.shown_least,
            max=column.shown_greatest,
            mean=column.mean,
            std=column.std(),
        )
        for name, column in summary.columns.items()
    }
