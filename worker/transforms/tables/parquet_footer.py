"""How much memory the row groups of a Parquet file take, read from its footer.

polars decodes a row group as a whole. Run lengths and dictionaries make a file of kilobytes hold a billion values, so
the size on disk says nothing. The footer is a Thrift struct in the compact protocol; only what is needed is read.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

from poolhouse.worker.errors import Reject

#: Footers beyond this are of files with absurdly many columns or row groups.
MAX_FOOTER_BYTES = 8 * 1024 * 1024
#: What one row group may take in memory. Writers make groups of up to a million rows by default: 16 columns of numbers.
MAX_ROW_GROUP_BYTES = 256 * 1024 * 1024
#: Bytes of a value in memory, besides those of its text: polars' string views have 16.
_VALUE_BYTES = 16
_MAX_DEPTH = 16
_MAGIC = b"PAR1"
# Field numbers of parquet.thrift: FileMetaData.row_groups, RowGroup.columns, ColumnChunk.meta_data, ColumnMetaData.…
_ROW_GROUPS, _COLUMNS, _META_DATA, _NUM_VALUES, _UNCOMPRESSED_BYTES = 4, 1, 3, 5, 6


def check_row_groups(source: IO[bytes]) -> None:
    """Raise `Reject` if the file has no readable footer, or a row group that takes more than the limit."""
    for number, size_bytes in enumerate(row_group_bytes(source), start=1):
        if size_bytes > MAX_ROW_GROUP_BYTES:
            raise Reject(
                f"row group {number} of the Parquet file takes about {size_bytes // 1024**2} MiB of memory, more than "
                f"{MAX_ROW_GROUP_BYTES // 1024**2}: write it with smaller row groups"
            )


def row_group_bytes(source: IO[bytes]) -> list[int]:
    """About how many bytes of memory each row group takes. Raises `Reject`."""
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
        return [
            sum(
                column[_META_DATA][_NUM_VALUES] * _VALUE_BYTES + column[_META_DATA][_UNCOMPRESSED_BYTES]
                for column in group[_COLUMNS]
            )
            for group in footer.get(_ROW_GROUPS, [])
        ]
    except (IndexError, KeyError, TypeError, ValueError, struct.error) as error:
        raise Reject(f"not a readable Parquet file: its footer is broken ({error})") from error


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
