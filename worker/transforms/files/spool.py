"""An object's bytes on local disk.

Several passes over a file (sniff, measure, transform) read it once from storage: it is spooled to a scratch directory
first. On Cloud Run `/tmp` is memory and counts against the instance's limit: a worker for files of gigabytes there
needs a mounted volume (a bucket or NFS mount, or an in-memory volume with a size) and `TMPDIR` pointing to it.
"""

from __future__ import annotations

import io
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from poolhouse.pipeline.errors import PoolhouseError
from poolhouse.worker.context import TaskContext
from worker.transforms.files.hashes import Hashes
from worker.transforms.tables.pipeline import in_order

#: Bytes read at a time: a checkpoint lies between two of them.
READ_BYTES = 4 * 1024 * 1024
#: Disk that must stay free, in bytes, so that one large file does not starve the tasks beside it.
DISK_MARGIN_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Spooled:
    """A spooled object."""

    path: Path
    size_bytes: int
    #: Time that the transfer took, in seconds.
    duration_s: float


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory of its own for one attempt, gone with it."""
    with tempfile.TemporaryDirectory(prefix="poolhouse-") as directory:
        yield Path(directory)


def spool(ctx: TaskContext, name: str, path: Path, *, hashes: Hashes | None = None) -> Spooled:
    """Copy the object `name` to `path`.

    Args:
        hashes: are given all bytes on the way, on a thread of their own: they cost as much as the copy.

    Raises:
        poolhouse.pipeline.errors.ObjectNotFound: there is none.
        PoolhouseError: the scratch disk has no room; another worker may have.
    """
    started = time.perf_counter()
    info = ctx.store.stat(name)
    require_space(path.parent, info.size_bytes)
    size_bytes = 0
    with (
        ctx.store.open_read(name) as source,
        path.open("wb") as target,
        ThreadPoolExecutor(1, thread_name_prefix="hashes") as pool,
    ):
        pieces = iter(lambda: source.read(READ_BYTES), b"")
        for data, _ in in_order(pool, hashes.update, pieces) if hashes else ((piece, None) for piece in pieces):
            target.write(data)
            size_bytes += len(data)
            ctx.progress(size_bytes, info.size_bytes, "reading from storage")
            ctx.checkpoint()
    return Spooled(path=path, size_bytes=size_bytes, duration_s=time.perf_counter() - started)


def require_space(directory: Path, size_bytes: int) -> None:
    """Raise unless the disk below `directory` takes `size_bytes` more."""
    free = shutil.disk_usage(directory).free
    if free < size_bytes + DISK_MARGIN_BYTES:
        raise PoolhouseError(
            f"{size_bytes} bytes do not fit on the scratch disk, which has {free} free: "
            "give the worker a larger volume, and TMPDIR its path"
        )


def upload(ctx: TaskContext, name: str, path: Path, *, content_type: str) -> int:
    """Write the file at `path` as the object `name`; returns its size in bytes."""
    size_bytes = path.stat().st_size
    with path.open("rb") as source:
        watched = _Watched(source, ctx, size_bytes)
        ctx.store.upload(name, watched, content_type=content_type, size_bytes=size_bytes)  # type: ignore[arg-type]
    return size_bytes


class _Watched(io.RawIOBase):
    """A file that a task may be interrupted in the middle of."""

    def __init__(self, source: IO[bytes], ctx: TaskContext, size_bytes: int) -> None:
        self._source, self._ctx, self._size_bytes = source, ctx, size_bytes

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._source.seek(offset, whence)

    def tell(self) -> int:
        return self._source.tell()

    def read(self, size: int = -1) -> bytes:
        self._ctx.checkpoint()
        data = self._source.read(size)
        self._ctx.progress(self._source.tell(), self._size_bytes, "writing to storage")
        return data
