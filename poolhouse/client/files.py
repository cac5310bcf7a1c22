"""Files: sent straight to storage, and read from the API as streams."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import IO, TYPE_CHECKING, Any, Literal

import httpx2

from poolhouse.client import calls
from poolhouse.client.errors import ApiError

if TYPE_CHECKING:
    from poolhouse.client.async_client import AsyncClient
    from poolhouse.client.client import Client

#: Bytes that are read and sent at a time.
CHUNK_BYTES = 256 * 1024
#: Where a file lies: what clients sent, or what file tasks made.
Folder = Literal["uploads", "processed"]


class Files:
    """The files of one API. Every method may raise `ApiError`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @contextmanager
    def open(self, name: str, *, folder: Folder = "uploads") -> Iterator[IO[bytes]]:
        """Open a file for reading, from its beginning to its end, as a stream.

        Args:
            name: its name, as it was uploaded.
            folder: `processed` for what a task made of it.
        """
        with self._client.stream(calls.file_path(name), query={"folder": folder}) as answer:
            yield io.BufferedReader(_Body(answer, name), CHUNK_BYTES)

    def upload(
        self,
        name: str,
        file: IO[bytes] | bytes,
        *,
        size_bytes: int | None = None,
        content_type: str | None = None,
        on_bytes: Callable[[int], None] = lambda count: None,
    ) -> None:
        """Send a file to `uploads/NAME`, straight to storage.

        Args:
            name: the name that tasks use.
            file: read from where it is, as a stream.
            size_bytes: how much there is to read; None: up to its end.
            content_type: its media type; None: by its name.
            on_bytes: told of each piece that was sent, in bytes.
        """
        source, size_bytes = _sized(file, size_bytes)
        session = self._client.send(
            calls.open_upload(name, content_type=content_type or calls.content_type(name), size_bytes=size_bytes)
        )
        headers = {**session["headers"], "Content-Length": str(size_bytes)}
        content: Any = _pieces(source, on_bytes) if size_bytes else b""
        try:
            answer = self._client.put(session["upload_url"], method=session["method"], content=content, headers=headers)
        except httpx2.RequestError as error:
            raise _broken_off(name, error) from error
        _check_stored(answer, name)


class AsyncFiles:
    """The files of one API, for asyncio. Every method may raise `ApiError`."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    @asynccontextmanager
    async def open(self, name: str, *, folder: Folder = "uploads") -> AsyncIterator[AsyncIterator[bytes]]:
        """Open a file for reading, as a stream of pieces; arguments as of `Files.open`."""
        async with self._client.stream(calls.file_path(name), query={"folder": folder}) as answer:
            yield answer.aiter_bytes(CHUNK_BYTES)

    async def upload(
        self,
        name: str,
        file: IO[bytes] | bytes,
        *,
        size_bytes: int | None = None,
        content_type: str | None = None,
    ) -> None:
        """Send a file to `uploads/NAME`, as `Files.upload`; it is read in the event loop, piece by piece."""
        source, size_bytes = _sized(file, size_bytes)
        session = await self._client.send(
            calls.open_upload(name, content_type=content_type or calls.content_type(name), size_bytes=size_bytes)
        )

        async def pieces() -> AsyncIterator[bytes]:
            for piece in _pieces(source, lambda count: None):
                yield piece

        headers = {**session["headers"], "Content-Length": str(size_bytes)}
        content: Any = pieces() if size_bytes else b""
        try:
            answer = await self._client.put(
                session["upload_url"], method=session["method"], content=content, headers=headers
            )
        except httpx2.RequestError as error:
            raise _broken_off(name, error) from error
        _check_stored(answer, name)


class _Body(io.RawIOBase):
    """The body of an answer as a file."""

    def __init__(self, answer: httpx2.Response, name: str) -> None:
        self._pieces = answer.iter_bytes(CHUNK_BYTES)
        self._name = name
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            try:
                self._rest = memoryview(next(self._pieces))
            except StopIteration:
                return 0
            except httpx2.RequestError as error:
                raise ApiError(f"the download of {self._name} broke off ({type(error).__name__}): try again") from error
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count


def _sized(file: IO[bytes] | bytes, size_bytes: int | None) -> tuple[IO[bytes], int]:
    source = io.BytesIO(file) if isinstance(file, bytes) else file
    if size_bytes is None:
        here = source.tell()
        size_bytes = source.seek(0, io.SEEK_END) - here
        source.seek(here)
    return source, size_bytes


def _pieces(file: IO[bytes], on_bytes: Callable[[int], None]) -> Iterator[bytes]:
    while piece := file.read(CHUNK_BYTES):
        yield piece
        on_bytes(len(piece))


def _broken_off(name: str, error: Exception) -> ApiError:
    return ApiError(f"storage broke off the upload of {name}: {error}. Try again.")


def _check_stored(answer: httpx2.Response, name: str) -> None:
    if not answer.is_success:
        raise ApiError(f"storage refused {name}: {answer.status_code} {answer.text[:300]}", status=answer.status_code)
