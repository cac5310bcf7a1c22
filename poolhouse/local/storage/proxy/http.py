"""As much of HTTP/1.1 as it takes to pass messages on: heads, and where bodies end (RFC 9112, section 6)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from poolhouse.pipeline import numbers

_PIECE_BYTES = 256 * 1024


class NotHttp(Exception):
    """What came is no HTTP message that can be passed on."""


@dataclass(frozen=True)
class Head:
    """The first line and the header fields of a message."""

    first_line: str
    fields: tuple[tuple[str, str], ...]

    @classmethod
    async def read(cls, reader: asyncio.StreamReader) -> Head | None:
        """The next head; None where the connection ends before it. Raises `NotHttp`."""
        try:
            raw = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise NotHttp("the connection ended within a head") from None
            return None
        except asyncio.LimitOverrunError:
            raise NotHttp("the head is too long") from None
        first_line, *lines = raw[:-4].decode("latin-1").split("\r\n")
        fields = []
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon:
                raise NotHttp(f"no header field: {line[:80]!r}")
            fields.append((name.strip(), value.strip()))
        return cls(first_line, tuple(fields))

    def get(self, name: str) -> str | None:
        """The value of a field; None if there is none."""
        return next((value for field, value in self.fields if field.lower() == name), None)

    def replaced(self, name: str, value: str | None) -> Head:
        """The head with another value of a field that it has; without that field for None."""
        kept = ((field, value if field.lower() == name else old) for field, old in self.fields)
        return Head(self.first_line, tuple((field, new) for field, new in kept if new is not None))

    @property
    def method(self) -> str:
        """The method of a request."""
        return self.first_line.split(" ", 1)[0]

    @property
    def target(self) -> str:
        """The target of a request: path and query."""
        return _second_word(self.first_line)

    @property
    def status(self) -> int:
        """The code of an answer. Raises `NotHttp`."""
        code = numbers.digits(_second_word(self.first_line))
        if code is None:
            raise NotHttp(f"no status line: {self.first_line[:80]!r}")
        return code

    @property
    def length(self) -> int | None:
        """The length that it declares for its body, in bytes."""
        return numbers.digits(self.get("content-length") or "")

    @property
    def chunked(self) -> bool:
        """Whether its body comes in chunks."""
        return "chunked" in (self.get("transfer-encoding") or "").lower()

    @property
    def closes(self) -> bool:
        """Whether the connection ends after this message."""
        return "close" in (self.get("connection") or "").lower()

    def encode(self) -> bytes:
        """As it goes over the wire."""
        lines = [self.first_line, *(f"{name}: {value}" for name, value in self.fields)]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def request_body(reader: asyncio.StreamReader, head: Head) -> AsyncIterator[bytes]:
    """The bytes of a request's body as they go over the wire, in pieces."""
    if head.chunked:
        async for piece in _chunks(reader):
            yield piece
    else:
        async for piece in _exactly(reader, head.length or 0):
            yield piece


async def answer_body(reader: asyncio.StreamReader, head: Head, *, method: str) -> AsyncIterator[bytes]:
    """The same of an answer's body; without a length it goes on until the connection ends."""
    if method == "HEAD" or head.status in {204, 304}:
        return
    if head.chunked:
        async for piece in _chunks(reader):
            yield piece
    elif head.length is not None:
        async for piece in _exactly(reader, head.length):
            yield piece
    else:
        while piece := await reader.read(_PIECE_BYTES):
            yield piece


def endless(head: Head, *, method: str) -> bool:
    """Whether only the connection's end marks the end of an answer."""
    return not (method == "HEAD" or head.status in {204, 304} or head.chunked or head.length is not None)


def _second_word(line: str) -> str:
    words = line.split(" ")
    return words[1] if len(words) > 1 else ""


async def _exactly(reader: asyncio.StreamReader, length: int) -> AsyncIterator[bytes]:
    while length:
        piece = await reader.read(min(length, _PIECE_BYTES))
        if not piece:
            raise NotHttp("the connection ended within a body")
        length -= len(piece)
        yield piece


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    try:
        while True:
            line = await reader.readuntil(b"\r\n")
            yield line
            size = int(line.split(b";")[0], 16)
            if size == 0:
                break
            async for piece in _exactly(reader, size + 2):
                yield piece
        while True:  # trailers, and the empty line that ends them
            line = await reader.readuntil(b"\r\n")
            yield line
            if line == b"\r\n":
                return
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
        raise NotHttp(f"not a chunked body: {error}") from None
