"""gzip and zstd as streams, with a limit for what they may expand to."""

from __future__ import annotations

import gzip
import io
import zlib
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

MAGIC: dict[bytes, Compression] = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}


def sniff(head: bytes) -> Compression | None:
    """The compression that a file's first bytes show."""
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
        self._stream: IO[bytes]
        if compression == "gzip":
            self._stream = cast(IO[bytes], gzip.GzipFile(fileobj=source, mode="rb"))
        else:
            decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW_BYTES)
            self._stream = cast(IO[bytes], decompressor.stream_reader(source, read_across_frames=True))

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
        except (gzip.BadGzipFile, zlib.error, EOFError, zstandard.ZstdError) as error:
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
