"""How much memory the row groups of a Parquet file take, read from its footer.

polars decodes a row group as a whole. Run lengths and dictionaries make a file of kilobytes hold a billion values, so
the size on disk says nothing. The footer is a Thrift struct in the compact protocol; only what is needed is read.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any

from poolhouse.worker.errors import Reject

#: Footers beyond this are of files with absurdly many columns or row groups.
MAX_FOOTER_BYTES = 8 * 1024 * 1024
#: What one row group may take in memory. Writers make groups of up to a million rows by default: 24 columns of numbers.
MAX_ROW_GROUP_BYTES = 192 * 1024 * 1024
#: What is read at a time.
PORTION_BYTES = 48 * 1024 * 1024
#: Bytes of a number in memory, by its physical type: booleans take less, INT96 becomes 8 bytes.
_NUMBER_BYTES = {0: 1, 1: 4, 2: 8, 3: 8, 4: 4, 5: 8}
#: Bytes of another value, besides those of its text: polars' string views have 16.
_VIEW_BYTES = 16
_INT96 = 3
_MAX_DEPTH = 16
_MAGIC = b"PAR1"
# Field numbers of parquet.thrift: FileMetaData.…, SchemaElement.…, RowGroup.…, ColumnChunk.meta_data, ColumnMetaData.….
_SCHEMA, _NUM_ROWS, _ROW_GROUPS = 2, 3, 4
_ELEMENT_TYPE, _ELEMENT_NAME = 1, 4
_COLUMNS, _GROUP_ROWS = 1, 3
_META_DATA = 3
_TYPE, _NUM_VALUES, _UNCOMPRESSED_BYTES = 1, 5, 6


@dataclass(frozen=True)
class Footer:
    """What is needed of a Parquet file's footer."""

    #: Rows, as the footer says.
    rows: int
    #: Rows of each row group.
    group_rows: tuple[int, ...]
    #: About how many bytes of memory each row group takes.
    group_bytes: tuple[int, ...]
    #: Columns of nanoseconds since noon of day 0 of the Julian calendar, as Spark and Impala write times.
    int96: tuple[str, ...]


def check_footer(source: IO[bytes]) -> Footer:
    """The footer; raises `Reject` if there is none, it contradicts itself, or a row group takes more than the limit."""
    footer = read_footer(source)
    for number, size_bytes in enumerate(footer.group_bytes, start=1):
        if size_bytes > MAX_ROW_GROUP_BYTES:
            raise Reject(
                f"row group {number} of the Parquet file takes about {size_bytes // 1024**2} MiB of memory, more than "
                f"{MAX_ROW_GROUP_BYTES // 1024**2}: write it with smaller row groups"
            )
    if footer.rows != sum(footer.group_rows):
        raise Reject(
            f"the Parquet file's footer says {footer.rows} rows, and its row groups hold {sum(footer.group_rows)}: "
            "write the file anew"
        )
    return footer


def portions(footer: Footer) -> Iterator[tuple[int, int]]:
    """First row and number of rows of what is read at a time: several small row groups, or a part of a large one.

    polars would read row groups ahead, of whatever size, each as a whole.
    """
    start = rows = size_bytes = 0
    for group_rows, group_bytes in zip(footer.group_rows, footer.group_bytes, strict=True):
        if rows and size_bytes + group_bytes > PORTION_BYTES:
            yield start, rows
            start, rows, size_bytes = start + rows, 0, 0
        rows += group_rows
        size_bytes += group_bytes
        if size_bytes > PORTION_BYTES:
            part = -(-rows // -(-size_bytes // PORTION_BYTES))
            for first in range(0, rows, part):
                yield start + first, min(part, rows - first)
            start, rows, size_bytes = start + rows, 0, 0
    if rows:
        yield start, rows


def read_footer(source: IO[bytes]) -> Footer:
    """Read the footer. Raises `Reject`."""
    source.seek(0, 2)
    size_bytes = source.tell()
    source.seek(max(0, size_bytes - 8))
    tail = source.read(8)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != _MAGIC or length + 12 > size_bytes:
        raise Reject("not a readable Parquet file: it has no footer at its end; it may be cut off, or encrypted")
    if length > MAX_FOOTER_BYTES:
        raise Reject(f"the Parquet file's footer has {length} bytes, more than {MAX_FOOTER_BYTES}")
    source.seek(size_bytes - 8 - length)
    try:
        footer = _Compact(source.read(length)).struct()
        groups = footer.get(_ROW_GROUPS, [])
        return Footer(
            rows=footer[_NUM_ROWS],
            group_rows=tuple(int(group[_GROUP_ROWS]) for group in groups),
            group_bytes=tuple(sum(_column_bytes(column[_META_DATA]) for column in group[_COLUMNS]) for group in groups),
            int96=tuple(
                element[_ELEMENT_NAME].decode(errors="replace")
                for element in footer[_SCHEMA]
                if element.get(_ELEMENT_TYPE) == _INT96
            ),
        )
    except (IndexError, KeyError, TypeError, ValueError, AttributeError, struct.error) as error:
        raise Reject("not a readable Parquet file: its footer is broken") from error


def _column_bytes(column: dict[int, Any]) -> int:
    values: int = column[_NUM_VALUES]
    if column[_TYPE] in _NUMBER_BYTES:
        return values * _NUMBER_BYTES[column[_TYPE]]
    return values * _VIEW_BYTES + int(column[_UNCOMPRESSED_BYTES])


@dataclass
class _Compact:
    """A reader of Thrift's compact protocol (thrift-compact-protocol.md): structs as dicts by field number."""

    data: bytes
    at: int = 0
    depth: int = 0

    def struct(self) -> dict[int, Any]:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise ValueError("nested too deeply")
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._zigzag()
            kind = head & 0x0F
            # Booleans have no bytes of their own in a struct.
            fields[number] = kind == 1 if kind in {1, 2} else self._value(kind)
        self.depth -= 1
        return fields

    def _value(self, kind: int) -> Any:
        readers: dict[int, Callable[[], Any]] = {
            1: self._byte,
            2: self._byte,
            3: self._byte,
            4: self._zigzag,
            5: self._zigzag,
            6: self._zigzag,
            7: self._double,
            8: self._binary,
            9: self._list,
            10: self._list,
            12: self.struct,
        }
        if kind not in readers:
            raise ValueError(f"type {kind} is not known")
        return readers[kind]()

    def _byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def _varint(self) -> int:
        result = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            result |= (byte & 0x7F) << shift
            if byte < 0x80:
                return result
        raise ValueError("a number is too long")

    def _zigzag(self) -> int:
        number = self._varint()
        return (number >> 1) ^ -(number & 1)

    def _double(self) -> float:
        self.at += 8
        return float(struct.unpack("<d", self.data[self.at - 8 : self.at])[0])

    def _binary(self) -> bytes:
        length = self._varint()
        if length > len(self.data) - self.at:
            raise ValueError("a text is longer than the footer")
        self.at += length
        return self.data[self.at - length : self.at]

    def _list(self) -> list[Any]:
        head = self._byte()
        length = head >> 4 if head >> 4 != 0x0F else self._varint()
        if length > len(self.data) - self.at:
            raise ValueError("a list is longer than the footer")
        return [self._value(head & 0x0F) for _ in range(length)]
