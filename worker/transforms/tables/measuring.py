"""One pass over a table that settles its types and its figures."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from worker.transforms.tables.guard import guarded
from worker.transforms.tables.summary import Summary
from worker.transforms.tables.table import Table, TypesChanged, Watch

#: Tables up to this size are kept as they were measured: to read them again, and to start polars' streaming engine for
#: them, costs more than they do.
SMALL_ROWS = 20_000
SMALL_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class Measured:
    """A table whose types hold for all rows, and the figures of its columns."""

    table: Table
    summary: Summary
    #: All rows, where they are few.
    frame: pl.DataFrame | None


def measure(table: Table, watch: Watch) -> Measured:
    """Read the whole table once; more often where its first rows were of other types than later ones."""
    while True:
        summary = Summary()
        summary.add(pl.DataFrame(schema=table.types))
        kept: list[pl.DataFrame] | None = []
        try:
            with guarded("the table can't be read"):
                for frame in table.frames(watch):
                    summary.add(frame)
                    kept = _kept(kept, frame)
        except TypesChanged as change:
            table = change.table
            continue
        proven = table.proven()
        return Measured(proven, summary, _joined(kept, pl.Schema(proven.types)) if kept else None)


def _kept(frames: list[pl.DataFrame] | None, frame: pl.DataFrame) -> list[pl.DataFrame] | None:
    """The frames with one more; None once they are many rows."""
    if frames is None or sum(part.height for part in frames) + frame.height > SMALL_ROWS:
        return None
    return [*frames, frame] if sum(part.estimated_size() for part in (*frames, frame)) <= SMALL_BYTES else None


def _joined(frames: list[pl.DataFrame], types: pl.Schema) -> pl.DataFrame:
    frame = pl.concat(frames) if len(frames) > 1 else frames[0]
    return frame if frame.schema == types else frame.select(pl.col(name).cast(dtype) for name, dtype in types.items())
