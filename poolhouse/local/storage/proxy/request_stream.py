"""Where requests begin and end in the bytes that a client sends (RFC 9112, section 6). Pure; keeps every byte."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from poolhouse.local.storage.proxy.http import NotHttp
from poolhouse.pipeline import numbers

#: Longest head that is taken, in bytes: far beyond what clients send, and what the server takes itself.
MAX_HEAD_BYTES = 256 * 1024
_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A request's first line and header fields.

    Attributes:
        method: as it was sent.
        target: path and query.
        headers: by lower-case name; of a field that occurs twice, both values.
        raw: all of it.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    raw: bytes

    @classmethod
    def parse(cls, raw: bytes) -> RequestHead:
        """Read a head. Raises `NotHttp`."""
        first_line, *lines = raw[: -len(_END)].decode("latin-1").split("\r\n")
        words = first_line.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            raise NotHttp(f"not a request: {first_line[:80]!r}")
        headers: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon or name != name.strip():
                raise NotHttp(f"not a header field: {line[:80]!r}")
            name, value = name.lower(), value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return cls(words[0], words[1], headers, raw)


class _State(Enum):
    HEAD = auto()
    BODY = auto()
    CHUNK_SIZE = auto()
    CHUNK = auto()
    TRAILER = auto()


class RequestStream:
    """Takes what comes from one connection, and separates heads from bodies."""

    def __init__(self) -> None:
        self._state = _State.HEAD
        self._waiting = b""
        self._left_bytes = 0

    def feed(self, data: bytes) -> Iterator[RequestHead | bytes]:
        """Take some bytes; gives each head once it is complete, and pieces of bodies as they come.

        Raises:
            NotHttp: they are no requests.
        """
        if self._waiting:
            data, self._waiting = self._waiting + data, b""
        while data:
            if self._state in (_State.BODY, _State.CHUNK):
                piece, data = data[: self._left_bytes], data[self._left_bytes :]
                self._left_bytes -= len(piece)
                if not self._left_bytes:
                    self._state = _State.HEAD if self._state is _State.BODY else _State.CHUNK_SIZE
                yield piece
                continue
            ending = _END if self._state is _State.HEAD else b"\r\n"
            end = data.find(ending)
            if end < 0:
                if len(data) > MAX_HEAD_BYTES:
                    raise NotHttp("the head is too long")
                self._waiting = data
                return
            end += len(ending)
            part, data = data[:end], data[end:]
            if self._state is _State.HEAD:
                head = RequestHead.parse(part)
                self._begin_body(head.headers)
                yield head
            else:
                self._end_line(part)
                yield part

    def _begin_body(self, headers: Mapping[str, str]) -> None:
        coding, length = headers.get("transfer-encoding"), headers.get("content-length", "0")
        if coding is not None:
            if coding.lower() != "chunked" or "content-length" in headers:
                raise NotHttp("the length of the body is not clear")
            self._state = _State.CHUNK_SIZE
        elif (size := numbers.digits(length)) is None:
            raise NotHttp(f"not a length: {length[:80]!r}")
        elif size:
            self._state, self._left_bytes = _State.BODY, size

    def _end_line(self, line: bytes) -> None:
        if self._state is _State.TRAILER:
            if line == b"\r\n":
                self._state = _State.HEAD
            return
        try:
            size = int(line.partition(b";")[0], 16)
        except ValueError:
            raise NotHttp(f"not the size of a chunk: {line[:80]!r}") from None
        if size < 0:
            raise NotHttp(f"not the size of a chunk: {line[:80]!r}")
        # With the line end behind the chunk.
        self._state, self._left_bytes = (_State.CHUNK, size + 2) if size else (_State.TRAILER, 0)
