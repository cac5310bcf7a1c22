"""An append-only file of checked records that a killed process leaves readable.

Each record is its length and CRC-32 (little endian, 4 bytes each) and its bytes. `append` hands records to the
operating system before it returns: what was appended survives `kill -9`. `sync` makes it survive the machine, too.
"""

from __future__ import annotations

import logging
import os
import struct
import threading
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

_log = logging.getLogger(__name__)

_HEAD = struct.Struct("<II")
_MAGIC = b"poolhouse-pubsub-1\n"


class LogFile:
    """The log of one data folder.

    Args:
        path: Its file; made when it is not there.

    Raises:
        ValueError: The file is something else.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unfinished = path.with_name(path.name + ".new")
        self._unfinished.unlink(missing_ok=True)
        if not path.exists():
            self._replace(())
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise ValueError(f"{path} is not a log of this emulator (or of another version): move it away")
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND)
        # `sync` runs on a thread while the owner may swap the file.
        self._swap = threading.Lock()
        #: Size in bytes.
        self.size_bytes = path.stat().st_size
        #: Whether anything was appended since the last `sync`.
        self.unsynced = False

    def records(self) -> Iterator[bytes]:
        """All records, oldest first. A torn end (the machine went down) is cut off and kept beside the log."""
        with self._path.open("rb") as file:
            position = len(_MAGIC)
            file.seek(position)
            while True:
                head = file.read(_HEAD.size)
                if not head:
                    return
                body = b""
                if len(head) == _HEAD.size:
                    length, check = _HEAD.unpack(head)
                    if length <= self.size_bytes - position - _HEAD.size:
                        body = file.read(length)
                    if body and zlib.crc32(body) == check:
                        yield body
                        position += _HEAD.size + length
                        continue
                self._cut(position)
                return

    def _cut(self, position: int) -> None:
        with self._path.open("rb") as file:
            file.seek(position)
            rest = file.read()
        kept = self._path.with_name(f"{self._path.name}.torn-{position}")
        kept.write_bytes(rest)
        os.truncate(self._path, position)
        self.size_bytes = position
        _log.warning("%s: cut off %d bytes that are no whole record; kept in %s", self._path, len(rest), kept)

    def append(self, records: Iterable[bytes]) -> None:
        """Append records in one write.

        Raises:
            OSError: They can't be written; none of them was.
        """
        data = memoryview(b"".join(_framed(records)))
        end = self.size_bytes + len(data)
        self.unsynced = True
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError:
            os.ftruncate(self._fd, self.size_bytes)  # half a record would hide all that come after it
            raise
        self.size_bytes = end

    def sync(self) -> None:
        """Wait until everything appended so far is on the disk. May run on another thread."""
        with self._swap:
            self.unsynced = False
            if self._fd >= 0:
                os.fsync(self._fd)

    def rewrite(self, records: Iterable[bytes]) -> None:
        """Replace the whole log; at every moment either the old or the new one is there.

        Raises:
            OSError: The new one can't be written; the old one stays.
        """
        self._replace(records)
        with self._swap:
            os.close(self._fd)
            self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND)
            self.size_bytes = self._path.stat().st_size
            self.unsynced = False

    def _replace(self, records: Iterable[bytes]) -> None:
        try:
            with self._unfinished.open("wb") as file:
                file.write(_MAGIC)
                for piece in _framed(records):
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            self._unfinished.replace(self._path)
        except OSError:
            self._unfinished.unlink(missing_ok=True)
            raise

    def close(self) -> None:
        """Close the file."""
        with self._swap:
            os.close(self._fd)
            self._fd = -1


def _framed(records: Iterable[bytes]) -> Iterator[bytes]:
    for record in records:
        yield _HEAD.pack(len(record), zlib.crc32(record))
        yield record
