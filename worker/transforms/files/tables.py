"""A file task's view of a table: its figures, and the same rows in another format."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from poolhouse.worker.context import TaskContext
from worker.transforms.files.report import TableReport
from worker.transforms.tables.measuring import Measured, measure
from worker.transforms.tables.opening import open_table
from worker.transforms.tables.table import Format, TableFile, Watch
from worker.transforms.tables.writers import has_form, write, write_frame


class TableJob:
    """One table; it is measured once, at the first need."""

    def __init__(self, file: TableFile, ctx: TaskContext) -> None:
        self._file = file
        self._ctx = ctx
        self._measured: Measured | None = None

    @property
    def format(self) -> Format:
        """The format it comes in."""
        return self._file.format

    def report(self) -> TableReport:
        """Rows, columns and their figures. Raises `Reject` where a row is broken."""
        summary = self._measure().summary
        columns = summary.columns
        return TableReport(
            format=self._file.format,
            rows=summary.rows,
            columns=list(columns),
            types={name: column.type for name, column in columns.items()},
            null_counts={name: column.nulls for name, column in columns.items()},
            min={name: column.shown_least for name, column in columns.items()},
            max={name: column.shown_greatest for name, column in columns.items()},
        )

    def default_format(self) -> Format | None:
        """The format that it is converted to where none is named; None where none has a form for its columns."""
        wanted: tuple[Format, ...] = ("csv", "ndjson") if self.format == "parquet" else ("parquet",)
        types = self._measure().table.types
        return next((form for form in wanted if all(has_form(dtype, form) for dtype in types.values())), None)

    def write(self, path: Path, to: Format) -> None:
        """Write the rows in another format. Raises `Reject` where a row is broken, or a type has no form there."""
        measured = self._measure()
        table = measured.table
        if measured.frame is not None:
            write_frame(measured.frame, path, to)
            return
        write(table.frames(self._watch("converting")), path, to, types=pl.Schema(table.types))

    def _measure(self) -> Measured:
        if self._measured is None:
            self._measured = measure(open_table(self._file), self._watch("reading the table"))
        return self._measured

    def _watch(self, note: str) -> Watch:
        def watch(done_bytes: int, total_bytes: int) -> None:
            self._ctx.progress(done_bytes, total_bytes, note)
            self._ctx.checkpoint()

        return watch
