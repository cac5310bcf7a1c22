"""Parquet files as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl

from poolhouse.worker.errors import Reject
from worker.transforms.tables.guard import guarded
from worker.transforms.tables.parquet_footer import Footer, check_footer, portions
from worker.transforms.tables.table import Format, TableFile, TypesChanged, Watch, check_depth

#: What polars makes of an INT96 time that 64 bits of nanoseconds don't reach.
_CLIPPED = (2**63 - 1, -(2**63))


@dataclass(frozen=True)
class ParquetTable:
    """A Parquet file; `open_parquet` makes one."""

    file: TableFile
    types: Mapping[str, pl.DataType]
    footer: Footer
    #: Columns of INT96 times that are read in nanoseconds, as long as those reach.
    int96: frozenset[str] = frozenset()

    @property
    def format(self) -> Format:
        return "parquet"

    def proven(self) -> ParquetTable:
        return self

    def of_types(self, types: Mapping[str, pl.DataType]) -> None:
        return None

    def why(self, column: str) -> str:
        return f"the file declares {self.types[column]}"

    def frames(self, watch: Watch, *, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
        lazy = pl.scan_parquet(self.file.path, glob=False, schema=dict(self.types))
        if columns is not None:
            lazy = lazy.select(columns)
        done, size_bytes = 0, self.file.size_bytes
        with guarded("the Parquet data is broken"):
            for start, rows in portions(self.footer):
                for frame in lazy.slice(start, rows).collect_batches(maintain_order=True, engine="streaming"):
                    done += frame.height
                    watch(size_bytes * done // max(self.footer.rows, 1), size_bytes)
                    self._check_times(frame)
                    yield frame

    def _check_times(self, frame: pl.DataFrame) -> None:
        clipped = [
            name for name in self.int96.intersection(frame.columns) if frame[name].to_physical().is_in(_CLIPPED).any()
        ]
        if clipped:
            types = {name: pl.Datetime("us") if name in self.int96 else dtype for name, dtype in self.types.items()}
            raise TypesChanged(replace(self, types=types, int96=frozenset()))


def open_parquet(file: TableFile) -> ParquetTable:
    """Read the footer of a Parquet file.

    Raises:
        Reject: it is none, or one of its row groups takes too much memory.
    """
    with file.path.open("rb") as source:
        footer = check_footer(source)
    with guarded("not a readable Parquet file"):
        types = dict(pl.scan_parquet(file.path, glob=False).collect_schema())
    check_depth(types)
    if not types:
        raise Reject("the Parquet file has no columns")
    int96 = frozenset(name for name in footer.int96 if types.get(name) == pl.Datetime("ns"))
    return ParquetTable(file, types, footer, int96)
