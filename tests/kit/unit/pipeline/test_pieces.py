"""Objects of any size: in one request up to a piece, in several beyond it."""

from __future__ import annotations

from typing import Any

import pytest

from poolhouse.pipeline import pieces
from poolhouse.pipeline.errors import PreconditionFailed
from poolhouse.pipeline.pieces import PIECE_BYTES
from poolhouse.pipeline.store import ABSENT
from poolhouse.testing.doubles import MemoryStore


class Store(MemoryStore):
    """Notes how objects are written."""

    def __init__(self) -> None:
        super().__init__()
        self.used: list[str] = []

    def put(self, *arguments: Any, **options: Any) -> int:
        self.used.append("put")
        return super().put(*arguments, **options)

    def upload(self, *arguments: Any, **options: Any) -> Any:
        self.used.append("upload")
        return super().upload(*arguments, **options)


@pytest.mark.parametrize(("size", "call"), [(0, "put"), (PIECE_BYTES, "put"), (PIECE_BYTES + 1, "upload")])
def test_what_is_larger_than_a_piece_is_uploaded(size: int, call: str) -> None:
    store, data = Store(), b"1" * size
    pieces.write(store, "results/a.json", data)
    assert store.used[0] == call
    assert store.get("results/a.json")[0] == data


def test_a_small_object_is_written_once_where_that_is_asked() -> None:
    store = Store()
    pieces.write(store, "results/a.json", b"1", if_generation=ABSENT)
    with pytest.raises(PreconditionFailed):
        pieces.write(store, "results/a.json", b"2", if_generation=ABSENT)
    assert store.get("results/a.json")[0] == b"1"
