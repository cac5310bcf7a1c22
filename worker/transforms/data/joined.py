"""Several tables, one below the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl

from poolhouse.worker.errors import Reject
from worker.transforms.tables.guard import guarded
from worker.transforms.tables.table import Format, Table, TypesChanged, Watch, inexact_as_float, type_name, widest


@dataclass(frozen=True)
class JoinedTable:
    """Tables of the same columns, in any order of columns; `JoinedTable.of` makes one."""

    tables: tuple[Table, ...]
    names: tuple[str, ...]
    types: Mapping[str, pl.DataType]

    @classmethod
    def of(cls, tables: Sequence[Table], names: Sequence[str]) -> JoinedTable:
        """Join tables; `names` say in errors which one is meant.

        A file without types of its own is read with those of all: what is text in one is text as it stands in others.

        Raises:
            Reject: their columns differ, or hold what no type holds together.
        """
        types = dict(tables[0].types)
        for table, name in zip(tables, names, strict=True):
            odd = sorted(set(table.types) ^ set(types))
            if odd:
                raise Reject(f"{name} and {names[0]} differ in their columns: {', '.join(map(repr, odd))}"[:1_000])
            for column, dtype in types.items():
                joined = widest(dtype, table.types[column])
                if joined is None:
                    kinds = f"{type_name(table.types[column])} where the files before have {type_name(dtype)}"
                    raise Reject(f"{name}: {column!r} holds {kinds}")
                types[column] = joined
        return cls(tuple(table.of_types(types) or table for table in tables), tuple(names), types)

    @property
    def format(self) -> Format:
        form = self.tables[0].format
        return "csv" if form == "generated" else form

    def proven(self) -> JoinedTable:
        # A column without any value has a type too: that of a CSV which has none.
        types = {name: pl.Int64() if dtype == pl.Null() else dtype for name, dtype in self.types.items()}
        return replace(self, tables=tuple(table.proven() for table in self.tables), types=types)

    def of_types(self, types: Mapping[str, pl.DataType]) -> None:
        return None

    def why(self, column: str) -> str:
        found = ((name, table.why(column)) for name, table in zip(self.names, self.tables, strict=True))
        return next((f"{name}: {why}" for name, why in found if why), "")

    def frames(self, watch: Watch, *, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
        types = self.types
        wanted = {name: types[name] for name in (types if columns is None else columns)}
        for index, (table, name) in enumerate(zip(self.tables, self.names, strict=True)):
            share = len(self.tables)

            def part(done: int, total: int, index: int = index, share: int = share) -> None:
                watch(index * total + done, share * total)

            try:
                for frame in table.frames(part, columns=list(wanted)):
                    yield _cast(frame, wanted)
            except TypesChanged as change:
                tables = (*self.tables[:index], change.table, *self.tables[index + 1 :])
                raise TypesChanged(JoinedTable.of(tables, self.names)) from None
            except Reject as error:
                raise Reject(f"{name}: {error.reason}") from error


def _cast(frame: pl.DataFrame, types: Mapping[str, pl.DataType]) -> pl.DataFrame:
    for name, dtype in types.items():
        if dtype.is_float() and frame[name].dtype.is_integer() and inexact_as_float(frame[name]):
            raise Reject(
                f"column {name!r} holds integers beyond 2**53, which don't go with the fractions of other files"
            )
    with guarded("a value does not fit the type that its column has in other files"):
        return frame.select(pl.col(name).cast(dtype) for name, dtype in types.items())
