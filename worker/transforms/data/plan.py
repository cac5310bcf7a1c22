"""The plan of a data transformation: steps chained lazily over a table, run in polars' streaming engine.

A step that needs figures over all rows (normalize, standardize) asks for them in a pass of its own, so that no pass
holds the table in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

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
from worker.transforms.tables.guard import guarded
from worker.transforms.tables.measuring import Measured
from worker.transforms.tables.summary import ColumnSummary, Summary
from worker.transforms.tables.table import EXACT_INTEGERS, Table, Watch, type_name

#: Bytes of a frame that goes into a plan. The engine takes some dozens of frames ahead, of whatever size.
FRAME_BYTES = 2 * 1024 * 1024
#: Bytes of a frame that comes out: small ones are put together, since each write and sum has its fixed cost.
GATHERED_BYTES = 4 * 1024 * 1024
#: How many of them at the most: a few filtered texts keep the memory of all texts of their frame.
GATHERED_FRAMES = 32
#: What columns of these types are summed up in.
_SUMS: dict[pl.DataType, pl.DataType] = dict.fromkeys(
    (pl.Int8(), pl.Int16(), pl.Int32(), pl.UInt8(), pl.UInt16(), pl.UInt32()), pl.Int64()
) | {pl.Float32(): pl.Float64()}
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
    #: Least and greatest number of integer columns, where they are known to lie between two.
    bounds: Mapping[str, tuple[int, int]]
    #: Rows of the table: no step makes more.
    table_rows: int
    #: Whether the rows are few: then they are run in memory, since the streaming engine takes milliseconds to start.
    is_small: bool = False

    @property
    def types(self) -> pl.Schema:
        """The columns and their types."""
        return self.rows.collect_schema()

    def frames(self) -> Iterator[pl.DataFrame]:
        """Run the plan."""
        with guarded("the steps don't fit the rows"):
            if self.is_small:
                yield self.rows.collect(engine="in-memory")
                return
            yield from _gathered(self.rows.collect_batches(maintain_order=True, engine="streaming"))

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
                is_small = self.is_small and not self._sums_decimals(step)
                return replace(self, rows=self._aggregate(step), summary=None, bounds={}, is_small=is_small)
            case Filter():
                rows = self._filter(step)
            case Deduplicate():
                rows = self._deduplicate(step)
            case Sample():
                rows = self._sample(step)
        return replace(self, rows=rows, summary=None)

    def _changed(self, rows: pl.LazyFrame, columns: Iterable[str]) -> Plan:
        """The plan with some columns changed, of the same rows."""
        changed = set(columns)
        bounds = {name: both for name, both in self.bounds.items() if name not in changed}
        if self.summary is None:
            return replace(self, rows=rows, bounds=bounds)
        known = {name: column for name, column in self.summary.columns.items() if name not in changed}
        return replace(self, rows=rows, summary=Summary(rows=self.summary.rows, columns=known), bounds=bounds)

    def _normalize(self, step: Normalize) -> Plan:
        summary = self._figures(step.name, self._numeric(step.name, step.columns))
        changed = []
        for name, column in summary.columns.items():
            x, origin = self._as_float(name, column)
            if column.least is None:
                changed.append(x.alias(name))
                continue
            least, greatest = float(column.least - origin), float(column.greatest - origin)
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
            x, _ = self._as_float(name, column)
            std = column.std(ddof=step.ddof)
            if std is None and column.numbers == 0:
                changed.append(x.alias(name))
                continue
            changed.append(((x - column.mean_beyond) / std if std else x * 0.0).alias(name))
        return self._changed(self.rows.with_columns(changed), summary.columns)

    def _as_float(self, name: str, column: ColumnSummary) -> tuple[pl.Expr, Any]:
        """A column's numbers as floats, less the origin of its figures, which is taken off before it would be lost."""
        x, origin = pl.col(name), column.origin
        if origin and column.dtype.is_integer():
            x = x.cast(pl.Int128) - pl.lit(origin, dtype=pl.Int128)
        elif origin:
            x = x - pl.lit(origin, dtype=column.dtype)
        return x.cast(pl.Float64), origin

    def _aggregate(self, step: Aggregation) -> pl.LazyFrame:
        self._known(step.name, step.group_by)
        aggregates = step.aggregates if step.aggregates is not None else self._all_figures(step.group_by)
        clash = next((name for name in aggregates if name in step.group_by), None)
        if clash is not None:
            raise Reject(f"aggregation: {clash!r} names both a group and a figure")
        figures = [self._aggregated(spec).alias(name) for name, spec in aggregates.items()]
        rounded = {spec.column for spec in aggregates.values() if spec.function in {"median", "std", "var"}}
        rows = limits.guard_exact(
            self.rows, sorted(name for name in rounded if name and self._may_be_wide(name)), step=step.name
        )
        if step.group_by:
            self._ordered(step.name, step.group_by)
            rows = limits.guard_groups(rows, step.group_by, step=step.name)
            rows = rows.group_by(step.group_by).agg(figures)
        else:
            rows = rows.select(figures)
        rows = self._exact_sums(rows, aggregates)
        # Sorted, since the order in which groups come out of the engine changes from run to run.
        return rows.sort(step.group_by, nulls_last=True) if step.group_by else rows

    def _exact_sums(self, rows: pl.LazyFrame, aggregates: Mapping[str, Aggregate]) -> pl.LazyFrame:
        """The figures with sums of integers, which were summed up in 128 bits, in the 64 of every reader."""
        types = self.types
        wide: dict[str, pl.DataType] = {
            name: pl.UInt64() if types[spec.column].is_unsigned_integer() else pl.Int64()
            for name, spec in aggregates.items()
            if spec.function == "sum" and spec.column is not None and self._sums_in_128_bits(spec.column)
        }
        if not wide:
            return rows

        def check(frame: pl.DataFrame) -> pl.DataFrame:
            narrow = frame.with_columns(pl.col(name).cast(dtype, strict=False) for name, dtype in wide.items())
            for name in wide:
                if narrow[name].null_count() > frame[name].null_count():
                    raise Reject(
                        f"aggregation: the sum of column {aggregates[name].column!r} does not fit into 64 bits: "
                        "cast it to float64 first, or name other `aggregates`"
                    )
            return narrow

        schema = rows.collect_schema()
        return limits.each(rows, check, schema=pl.Schema(dict(schema) | wide))

    def _sums_decimals(self, step: Aggregation) -> bool:
        """Whether sums are of decimals: the streaming engine alone notices that one of a group overflows."""
        wide = [
            name for name, dtype in self.types.items() if dtype.is_decimal() or dtype in (pl.Int128(), pl.UInt128())
        ]
        return any(spec.column in wide for spec in (step.aggregates or self._all_figures(step.group_by)).values())

    def _sums_in_128_bits(self, column: str) -> bool:
        """Whether a sum over the column may not fit into 64 bits."""
        if self.types[column] not in (pl.Int64(), pl.UInt64()):
            return False
        if column not in self.bounds:
            return True
        least, most = self.bounds[column]
        return max(-least, most) * max(1, self.table_rows) >= 2**63

    def _may_be_wide(self, column: str) -> bool:
        """Whether a column of integers may hold some that floats don't."""
        if self.types[column] not in (pl.Int64(), pl.UInt64(), pl.Int128(), pl.UInt128()):
            return False
        least, most = self.bounds.get(column, (-(2**63), 2**63))
        return max(-least, most) > EXACT_INTEGERS

    def _ordered(self, step: str, columns: Sequence[str]) -> None:
        """Refuse columns of values that have no order, or no equality."""
        odd = next((name for name in columns if self.types[name].is_nested() or self.types[name] == pl.Object()), None)
        if odd is not None:
            raise Reject(f"{step}: column {odd!r} holds {type_name(self.types[odd])}, which has no order")

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
                self._ordered("aggregation", [spec.column])
                return column.min() if spec.function == "min" else column.max()
            case "sum":
                if self.types[spec.column] in (pl.Int128(), pl.UInt128()):
                    # Decimals don't overflow silently, as these do.
                    return column.cast(pl.Decimal(38, 0)).sum().cast(self.types[spec.column])
                # Narrow integers add up in 64 bits, floats of 32 bits in those of 64.
                wide = pl.Int128() if self._sums_in_128_bits(spec.column) else _SUMS.get(self.types[spec.column])
                return (column.cast(wide) if wide else column).sum()
            case "mean":
                if self._may_be_wide(spec.column):
                    return column.cast(pl.Int128).sum().cast(pl.Float64) / column.count()
                return (column.cast(pl.Float64) if self.types[spec.column].is_float() else column).mean()
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
        rows = limits.guard_groups(self.rows, columns, step=step.name)
        return rows.unique(columns, keep=step.keep, maintain_order=True)

    def _sort(self, step: Sort) -> pl.LazyFrame:
        self._ordered(step.name, self._known(step.name, step.by))
        rows = limits.guard_bytes(self.rows, step=step.name)
        return rows.sort(step.by, descending=step.descending, nulls_last=True, maintain_order=True)

    def _sample(self, step: Sample) -> pl.LazyFrame:
        if step.fraction is not None:
            return samples.by_fraction(self.rows, step.fraction, seed=step.seed)
        assert step.rows is not None
        narrow = replace(self, rows=self.rows.select(list(self.types)[:1]), summary=None)
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
            chosen = replace(self, rows=self.rows.select(columns), summary=None)
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
    types = pl.Schema(table.types)

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

    rows = measured.frame.lazy() if measured.frame is not None else register_io_source(source, schema=types)
    bounds = {
        name: (column.least, column.greatest)
        for name, column in measured.summary.columns.items()
        if column.dtype.is_integer() and column.least is not None
    }
    return Plan(
        rows,
        table,
        measured.summary,
        bounds,
        table_rows=measured.summary.rows,
        is_small=measured.frame is not None,
    )


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
