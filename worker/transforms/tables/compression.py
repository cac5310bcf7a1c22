"""gzip and zstd as streams, with a limit for what they may expand to."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable
from typing import IO, Literal, cast

import zstandard

from poolhouse.worker.errors import Reject

Compression = Literal["gzip", "zstd"]

#: What every file may expand to, in bytes.
FREE_EXPANSION_BYTES = 64 * 1024 * 1024
#: Beyond that, how many times its size: logs and tables stay below 100, bombs reach 1,000 (gzip) and more (zstd).
MAX_EXPANSION_RATIO = 200
#: The most that a zstd frame may ask for as its window, in bytes: what `zstd -d` takes without `--long`, twice.
MAX_ZSTD_WINDOW_BYTES = 256 * 1024 * 1024

_ZSTD_MAGIC, _ZSTD_SKIPPABLE, _ZSTD_RUN_LENGTH = 0xFD2FB528, 0x184D2A50, 1
MAGIC: dict[bytes, Compression] = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}


def sniff(head: bytes) -> Compression | None:
    """The compression that a file's first bytes show."""
    if int.from_bytes(head[:4], "little") & 0xFFFFFFF0 == _ZSTD_SKIPPABLE:
        # pzstd puts a frame that is skipped before each other one (RFC 8878, 3.1.2); lz4 has the same.
        head = head[8 + int.from_bytes(head[4:8], "little") :]
    return next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), None)


class Expanded(io.RawIOBase):
    """The expanded bytes of a compressed stream.

    Reading raises `Reject` where the data is broken, or expands to more than the limits above.
    """

    def __init__(self, source: IO[bytes], compression: Compression, *, compressed_bytes: int) -> None:
        """Takes over `source`, which holds `compressed_bytes` in all."""
        self._limit = max(FREE_EXPANSION_BYTES, compressed_bytes * MAX_EXPANSION_RATIO)
        self._compression = compression
        self._read_bytes = 0
        self._check_end: Callable[[], None] = lambda: None
        self._stream: IO[bytes]
        if compression == "gzip":
            self._stream = cast(IO[bytes], gzip.GzipFile(fileobj=source, mode="rb"))
        else:
            decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW_BYTES)
            self._stream = cast(IO[bytes], decompressor.stream_reader(source, read_across_frames=True))
            self._check_end = lambda: check_zstd_frames(source)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview | bytearray) -> int:  # type: ignore[override]
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            raise ValueError("an expanded stream is read in pieces: its size is not known")
        try:
            data = self._stream.read(size)
            if not data and size:
                self._check_end()
        except (gzip.BadGzipFile, zlib.error, EOFError, ValueError, MemoryError, zstandard.ZstdError) as error:
            where = f"after {self._read_bytes} expanded bytes"
            raise Reject(f"the {self._compression} data is broken {where}: {error}") from error
        self._read_bytes += len(data)
        if self._read_bytes > self._limit:
            raise Reject(
                f"the {self._compression} data expands to more than {self._limit} bytes, "
                f"{MAX_EXPANSION_RATIO} times its size: refused as a decompression bomb"
            )
        return data


def expand(source: IO[bytes], compression: Compression | None, *, compressed_bytes: int) -> IO[bytes]:
    """`source` itself, or the stream of what it expands to."""
    if compression is None:
        return source
    return cast(IO[bytes], Expanded(source, compression, compressed_bytes=compressed_bytes))


def check_zstd_frames(source: IO[bytes]) -> None:
    """Raise `EOFError` where a file of zstd frames is cut off: its reader ends without a word then.

    Only the sizes of frames and blocks are read: RFC 8878, 3.1.1 and 3.1.2.
    """
    size_bytes = source.seek(0, io.SEEK_END)
    at = 0

    def number(size: int) -> int:
        nonlocal at
        source.seek(at)
        at += size
        if at > size_bytes:
            raise EOFError("it is cut off")
        return int.from_bytes(source.read(size), "little")

    while at < size_bytes:
        magic = number(4)
        if magic & 0xFFFFFFF0 == _ZSTD_SKIPPABLE:
            skipped = number(4)
            at += skipped
            continue
        if magic != _ZSTD_MAGIC:
            raise ValueError("something else follows its last frame")
        descriptor = number(1)
        is_single, has_checksum = descriptor >> 5 & 1, descriptor >> 2 & 1
        content_size = (1 if is_single else 0, 2, 4, 8)[descriptor >> 6]
        at += (0 if is_single else 1) + (0, 1, 2, 4)[descriptor & 3] + content_size
        is_last = False
        while not is_last:
            head = number(3)
            is_last, kind = bool(head & 1), head >> 1 & 3
            at += 1 if kind == _ZSTD_RUN_LENGTH else head >> 3
        at += 4 if has_checksum else 0
    if at > size_bytes:
        raise EOFError("it is cut off")
