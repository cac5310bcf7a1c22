"""Objects of any size: a large one goes in pieces, each of which has the time that a whole small object has."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from poolhouse.pipeline.store import ObjectStore  # which imports Google's clients

#: Bytes that one request reads or writes, and that a stream holds at a time; Cloud Storage wants multiples of 256 KiB.
PIECE_BYTES = 8 * 1024 * 1024


def write(store: ObjectStore, name: str, data: bytes, *, if_generation: int | None = None) -> None:
    """Write JSON.

    Args:
        if_generation: as of `ObjectStore.put`. An object of several pieces replaces what is there.

    Raises:
        PreconditionFailed: the generation of an object of one piece is another.
    """
    if len(data) > PIECE_BYTES:
        store.upload(name, io.BytesIO(data), content_type="application/json", size_bytes=len(data))
    else:
        store.put(name, data, if_generation=if_generation)
