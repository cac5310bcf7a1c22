"""One pass over a table that settles its types and its figures."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from worker.transforms.tables.summary import Summary
from worker.transforms.tables.table import Table, TypesChanged, Watch


@dataclass(frozen=True)
class Measured:
    """A table whose types hold for all rows, and the figures of its columns."""

    table: Table
    summary: Summary


def measure(table: Table, watch: Watch) -> Measured:
    """Read the whole table once; twice more where its first rows were of other types than later ones."""
    while True:
        summary = Summary()
        summary.add(pl.DataFrame(schema=table.types))
        try:
            for frame in table.frames(watch):
                summary.add(frame)
        except TypesChanged as change:
            # At most once: the table it carries holds the types of all rows.
            table = change.table
            continue
        return Measured(table.proven(), summary)
