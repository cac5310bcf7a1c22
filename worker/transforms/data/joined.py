"""Several tables, one below the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl

from poolhouse.worker.errors import Reject
from worker.transforms.tables.table import Format, Table, TypesChanged, Watch, widest


@dataclass(frozen=True)
class JoinedTable:
    """Tables of the same columns, in any order of columns; `JoinedTable.of` makes one."""

    tables: tuple[Table, ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, tables: Sequence[Table], names: Sequence[str]) -> JoinedTable:
        """Join tables; `names` say in errors which one is meant.

        Raises:
            Reject: their columns differ.
        """
        first = tables[0].types
        for table, name in zip(tables, names, strict=True):
            odd = sorted(set(table.types) ^ set(first))
            if odd:
                raise Reject(f"{name} and {names[0]} differ in their columns: {', '.join(map(repr, odd))}"[:1_000])
        return cls(tuple(tables), tuple(names))

    @property
    def format(self) -> Format:
        form = self.tables[0].format
        return "csv" if form == "generated" else form

    @property
    def types(self) -> Mapping[str, pl.DataType]:
        types = dict(self.tables[0].types)
        for table in self.tables[1:]:
            types = {name: widest(dtype, table.types[name]) for name, dtype in types.items()}
        return types

    def proven(self) -> JoinedTable:
        return replace(self, tables=tuple(table.proven() for table in self.tables))

    def why(self, column: str) -> str:
        found = ((name, table.why(column)) for name, table in zip(self.names, self.tables, strict=True))
        return next((f"{name}: {why}" for name, why in found if why), "")

    def frames(self, watch: Watch, *, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
        types = self.types
        wanted = list(types) if columns is None else list(columns)
        for index, (table, name) in enumerate(zip(self.tables, self.names, strict=True)):
            share = len(self.tables)

            def part(done: int, total: int, index: int = index, share: int = share) -> None:
                watch(index * total + done, share * total)

            try:
                for frame in table.frames(part, columns=wanted):
                    yield frame.select(pl.col(column).cast(types[column]) for column in wanted)
            except TypesChanged as change:
                tables = (*self.tables[:index], change.table, *self.tables[index + 1 :])
                raise TypesChanged(replace(self, tables=tables)) from None
            except Reject as error:
                raise Reject(f"{name}: {error.reason}") from error
