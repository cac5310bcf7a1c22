"""The plan of a data transformation: steps chained lazily over a table, run in polars' streaming engine.

A step that needs figures over all rows (normalize, standardize) asks for them in a pass of its own, so that no pass
holds the table in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import polars as pl
from polars.io.plugins import register_io_source

from poolhouse.worker.errors import Reject
from worker.transforms.data import casts, limits, samples
from worker.transforms.data.filter_expressions import compile_filter
from worker.transforms.data.steps import (
    Aggregate,
    Aggregation,
    Cast,
    Deduplicate,
    Filter,
    Normalize,
    Sample,
    Sort,
    Standardize,
    Step,
)
from worker.transforms.tables.measuring import Measured
from worker.transforms.tables.summary import Summary
from worker.transforms.tables.table import Table, Watch

#: Bytes of a frame that goes into a plan. The engine takes some dozens of frames ahead, of whatever size.
FRAME_BYTES = 2 * 1024 * 1024
#: Bytes of a frame that comes out: small ones are put together, since each write and sum has its fixed cost.
GATHERED_BYTES = 4 * 1024 * 1024
#: How many of them at the most: a few filtered texts keep the memory of all texts of their frame.
GATHERED_FRAMES = 32
_CAST = {
    "int64": pl.Int64(),
    "float64": pl.Float64(),
    "string": pl.String(),
    "boolean": pl.Boolean(),
    "date": pl.Date(),
    "datetime": pl.Datetime("us"),
}


@dataclass(frozen=True)
class Plan:
    """Rows as they come out of the steps so far."""

    rows: pl.LazyFrame
    #: Where the rows come from, to explain a column's type.
    table: Table
    #: Figures of the columns, while the rows are still those of the table.
    summary: Summary | None

    @property
    def types(self) -> pl.Schema:
        """The columns and their types."""
        return self.rows.collect_schema()

    def frames(self) -> Iterator[pl.DataFrame]:
        """Run the plan."""
        return _gathered(self.rows.collect_batches(maintain_order=True, engine="streaming"))

    def then(self, step: Step) -> Plan:
        """The plan with one more step.

        Raises:
            Reject: the step does not fit the columns.
        """
        match step:
            case Normalize():
                return self._normalize(step)
            case Standardize():
                return self._standardize(step)
            case Cast():
                return self._changed(self._cast(step), step.columns)
            case Sort():
                return replace(self, rows=self._sort(step))
            case Aggregation():
                rows = self._aggregate(step)
            case Filter():
                rows = self._filter(step)
            case Deduplicate():
                rows = self._deduplicate(step)
            case Sample():
                rows = self._sample(step)
        return Plan(rows, self.table, None)

    def _changed(self, rows: pl.LazyFrame, columns: Iterable[str]) -> Plan:
        """The plan with some columns changed, of the same rows."""
        if self.summary is None:
            return replace(self, rows=rows)
        changed = set(columns)
        known = {name: column for name, column in self.summary.columns.items() if name not in changed}
        return Plan(rows, self.table, Summary(rows=self.summary.rows, columns=known))

    def _normalize(self, step: Normalize) -> Plan:
        summary = self._figures(step.name, self._numeric(step.name, step.columns))
        changed = []
        for name, column in summary.columns.items():
            x = pl.col(name).cast(pl.Float64)
            if column.least is None:
                changed.append(x)
                continue
            least, greatest = float(column.least), float(column.greatest)
            scale = _scale(least, greatest)
            width = greatest * scale - least * scale
            if width:
                # polars divides by multiplying with the reciprocal, which may end a bit above or below 1.
                from_least = x - least if scale == 1.0 else x * scale - least * scale
                scaled = pl.when(x >= greatest).then(pl.lit(1.0)).otherwise((from_least / width).clip(0.0, 1.0))
            else:
                scaled = x * 0.0
            changed.append(scaled.alias(name))
        return self._changed(self.rows.with_columns(changed), summary.columns)

    def _standardize(self, step: Standardize) -> Plan:
        summary = self._figures(step.name, self._numeric(step.name, step.columns))
        changed = []
        for name, column in summary.columns.items():
            x = pl.col(name).cast(pl.Float64)
            std = column.std(ddof=step.ddof)
            if std is None and column.numbers == 0:
                changed.append(x)
                continue
            changed.append(((x - column.mean) / std if std else x * 0.0).alias(name))
        return self._changed(self.rows.with_columns(changed), summary.columns)

    def _aggregate(self, step: Aggregation) -> pl.LazyFrame:
        self._known(step.name, step.group_by)
        aggregates = step.aggregates if step.aggregates is not None else self._all_figures(step.group_by)
        clash = next((name for name in aggregates if name in step.group_by), None)
        if clash is not None:
            raise Reject(f"aggregation: {clash!r} names both a group and a figure")
        figures = [self._aggregated(spec).alias(name) for name, spec in aggregates.items()]
        if not step.group_by:
            return self.rows.select(figures)
        guarded = limits.guard_groups(self.rows, step.group_by, step=step.name)
        # Sorted, since the order in which groups come out of the engine changes from run to run.
        return guarded.group_by(step.group_by).agg(figures).sort(step.group_by, nulls_last=True)

    def _aggregated(self, spec: Aggregate) -> pl.Expr:
        if spec.column is None:
            return pl.len().cast(pl.Int64)
        self._known("aggregation", [spec.column])
        column = pl.col(spec.column)
        if spec.function in {"sum", "mean", "median", "std", "var"}:
            self._numeric("aggregation", [spec.column])
        match spec.function:
            case "count":
                return column.count().cast(pl.Int64)
            case "n_unique":
                return column.drop_nulls().n_unique().cast(pl.Int64)
            case "first" | "last":
                return column.first() if spec.function == "first" else column.last()
            case "min" | "max":
                return column.min() if spec.function == "min" else column.max()
            case "sum":
                return column.sum()
            case "mean":
                return column.mean()
            case "median":
                return column.median()
            case "std":
                return column.std()
            case "var":
                return column.var()

    def _all_figures(self, group_by: Sequence[str]) -> dict[str, Aggregate]:
        figures = {"rows": Aggregate(function="count")}
        for name, dtype in self.types.items():
            if dtype.is_numeric() and name not in group_by:
                figures |= {f"{name}_{f}": Aggregate(function=f, column=name) for f in ("sum", "mean", "min", "max")}
        return figures

    def _filter(self, step: Filter) -> pl.LazyFrame:
        return self.rows.filter(compile_filter(step.where, self.types))

    def _deduplicate(self, step: Deduplicate) -> pl.LazyFrame:
        columns = self._known(step.name, step.columns) if step.columns else list(self.types)
        guarded = limits.guard_groups(self.rows, columns, step=step.name)
        return guarded.unique(columns, keep=step.keep, maintain_order=True)

    def _sort(self, step: Sort) -> pl.LazyFrame:
        self._known(step.name, step.by)
        guarded = limits.guard_bytes(self.rows, step=step.name)
        return guarded.sort(step.by, descending=step.descending, nulls_last=True, maintain_order=True)

    def _sample(self, step: Sample) -> pl.LazyFrame:
        if step.fraction is not None:
            return samples.by_fraction(self.rows, step.fraction, seed=step.seed)
        assert step.rows is not None
        narrow = Plan(self.rows.select(list(self.types)[:1]), self.table, None)
        return samples.by_rows(self.rows, step.rows, narrow.frames(), seed=step.seed)

    def _cast(self, step: Cast) -> pl.LazyFrame:
        self._known(step.name, step.columns)
        targets = {name: _CAST[kind] for name, kind in step.columns.items()}
        return casts.cast(self.rows, targets, keep_null=step.on_error == "null")

    def _figures(self, step: str, columns: Sequence[str]) -> Summary:
        """The figures of some columns over all rows: those at hand, or from a pass of their own."""
        summary = self.summary
        if summary is None or not summary.columns.keys() >= set(columns):
            summary = Summary()
            chosen = Plan(self.rows.select(columns), self.table, None)
            summary.add(pl.DataFrame(schema=chosen.types))
            for frame in chosen.frames():
                summary.add(frame)
        broken = next((name for name in columns if summary.columns[name].not_finite), None)
        if broken is not None:
            count = summary.columns[broken].not_finite
            raise Reject(
                f"{step}: column {broken!r} has {count} values that are NaN or infinite: filter them out first"
            )
        return Summary(rows=summary.rows, columns={name: summary.columns[name] for name in columns})

    def _known(self, step: str, columns: Iterable[str]) -> list[str]:
        types = self.types
        unknown = next((name for name in columns if name not in types), None)
        if unknown is not None:
            raise Reject(
                f"{step}: there is no column {unknown!r}; the columns are {', '.join(map(repr, types))}"[:1_000]
            )
        return list(columns)

    def _numeric(self, step: str, columns: Sequence[str] | None) -> list[str]:
        types = self.types
        if columns is None:
            found = [name for name, dtype in types.items() if dtype.is_numeric()]
            if not found:
                raise Reject(f"{step}: no column holds numbers")
            return found
        for name in self._known(step, columns):
            if not types[name].is_numeric():
                why = self.table.why(name) if name in self.table.types else ""
                raise Reject(
                    f"{step}: column {name!r} holds no numbers but {types[name]}" + (f": {why}" if why else "")
                )
        return list(columns)


def _scale(least: float, greatest: float) -> float:
    """A power of two that keeps the width of a range, and the reciprocal of it, from becoming infinite."""
    half = greatest / 2 - least / 2
    if half > 8e307:
        return 0.5
    return 2.0**600 if half < 1e-300 else 1.0


def plan(measured: Measured, watch: Watch) -> Plan:
    """The plan with no step yet."""
    table = measured.table

    def source(
        with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        left = n_rows
        for frame in table.frames(watch, columns=with_columns):
            for part in _parts(frame if left is None else frame.head(left)):
                yield part if predicate is None else part.filter(predicate)
            if left is not None:
                left -= min(left, frame.height)
                if not left:
                    return

    return Plan(register_io_source(source, schema=pl.Schema(table.types)), table, measured.summary)


def _parts(frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
    rows = frame.height * FRAME_BYTES // max(1, int(frame.estimated_size()))
    yield from frame.iter_slices(max(1, rows))


def _gathered(frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    gathered: list[pl.DataFrame] = []
    size_bytes = 0
    for frame in frames:
        gathered.append(frame)
        size_bytes += int(frame.estimated_size())
        if size_bytes >= GATHERED_BYTES or len(gathered) >= GATHERED_FRAMES:
            yield pl.concat(gathered, rechunk=True)
            gathered, size_bytes = [], 0
    if gathered:
        yield pl.concat(gathered, rechunk=True)
