"""Answers that pass bytes on while they are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack

from starlette.responses import StreamingResponse

_BINARY = "application/octet-stream"


def stream(
    pieces: Iterator[bytes], opened: ExitStack, *, headers: Mapping[str, str], media_type: str = _BINARY
) -> StreamingResponse:
    """Answer with pieces of bytes, and close what they come from after the last one.

    Args:
        pieces: the bytes, a piece at a time.
        opened: what they come from; taken over.
        headers: of the answer.
        media_type: what a browser takes them for; by default something to be saved.
    """
    return StreamingResponse(_closing(pieces, opened.pop_all()), media_type=media_type, headers=headers)


def _closing(pieces: Iterator[bytes], opened: ExitStack) -> Iterator[bytes]:
    with opened:
        yield from pieces
