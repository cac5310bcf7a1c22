"""Downloads: a file of the bucket as a stream, whole or in part."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import IO, Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Header, Query
from starlette.responses import Response, StreamingResponse

from poolhouse.api import ranges
from poolhouse.api.problems import Problem
from poolhouse.api.ranges import Part, Unsatisfiable
from poolhouse.api.services import Provided, Services
from poolhouse.api.strict_query import StrictQueryRoute
from poolhouse.pipeline import names
from poolhouse.pipeline.errors import InvalidName, ObjectNotFound
from poolhouse.pipeline.store import ObjectInfo

#: Bytes that are sent at a time.
CHUNK_BYTES = 256 * 1024
#: Times that a file is looked up anew because it was replaced between the look and the read.
TRIES = 3

router = APIRouter(tags=["files"], route_class=StrictQueryRoute)
_FOLDERS = {"uploads": names.upload, "processed": names.processed}
_BINARY: dict[str, Any] = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file; its own media type is in Content-Type.", "content": _BINARY},
    206: {"description": "The part of the file that Range asks for.", "content": _BINARY},
    304: {"description": "If-None-Match names the file as it is."},
    404: {"description": "There is no such file."},
    416: {"description": "Range begins behind the file's end."},
}


@router.get("/files/{name:path}", summary="Download a file", response_class=Response, responses=_RESPONSES)
async def download_file(
    name: str,
    *,
    services: Provided,
    folder: Annotated[
        Literal["uploads", "processed"], Query(description="`processed` for what a task made of it.")
    ] = "uploads",
    range_: Annotated[str | None, Header(alias="Range", description="One range of bytes: `bytes=0-99`.")] = None,
    if_range: Annotated[
        str | None, Header(alias="If-Range", description="The ETag for which Range holds; else the whole file.")
    ] = None,
    if_none_match: Annotated[str | None, Header(alias="If-None-Match", description="ETags that are known.")] = None,
) -> Response:
    """A stream of one version of the file, which its ETag names; take it up again with Range and If-Range."""
    try:
        object_name = _FOLDERS[folder](name)
    except InvalidName as error:
        raise Problem(422, f"name: {error}") from None
    for _ in range(TRIES):
        info = await _look(object_name, name, folder, services)
        etag = f'"{hashlib.sha256(f"{info.generation} {info.size_bytes}".encode()).hexdigest()[:24]}"'
        headers = {
            "etag": etag,
            "accept-ranges": "bytes",
            "cache-control": "private, no-cache",
            "content-disposition": f"attachment; filename*=UTF-8''{quote(name.rpartition('/')[2], safe='')}",
        }
        if ranges.names(if_none_match, etag):
            return Response(status_code=304, headers=headers)
        asked = range_ if if_range in {None, etag} else None
        try:
            part = ranges.part(asked, size_bytes=info.size_bytes)
        except Unsatisfiable:
            raise Problem(
                416,
                f"the file has {info.size_bytes:,} bytes, and the range begins behind them",
                headers={"content-range": f"bytes */{info.size_bytes}"},
            ) from None
        whole = Part(0, info.size_bytes)
        if part is not None:
            headers["content-range"] = part.content_range(info.size_bytes)
        try:
            first, stream = await _opened(info, part or whole, services)
        except ObjectNotFound:
            continue  # replaced since the look: another version
        return StreamingResponse(
            _chunks(first, stream, (part or whole).length, services),
            200 if part is None else 206,
            media_type=info.content_type or "application/octet-stream",
            headers={**headers, "content-length": str((part or whole).length)},
        )
    raise Problem(409, f"the file {name} is replaced all the time: try again in a moment")


async def _look(object_name: str, name: str, folder: str, services: Services) -> ObjectInfo:
    try:
        return await services.threads.run(services.store.stat, object_name)
    except ObjectNotFound:
        raise Problem(404, f"there is no file {name} in {folder}/") from None


async def _opened(info: ObjectInfo, part: Part, services: Services) -> tuple[bytes, IO[bytes]]:
    """Open one version of a file and read its first bytes, before the answer begins: storage may be down."""

    def read() -> tuple[bytes, IO[bytes]]:
        stream = services.store.open_read(info.name, generation=info.generation)
        try:
            stream.seek(part.start)
            return stream.read(min(CHUNK_BYTES, part.length)) if part.length else b"", stream
        except BaseException:
            stream.close()
            raise

    return await services.threads.run(read)


async def _chunks(first: bytes, stream: IO[bytes], length: int, services: Services) -> AsyncIterator[bytes]:
    try:
        chunk, left = first, length
        while chunk:
            yield chunk
            left -= len(chunk)
            if not left:
                return
            chunk = await services.threads.run(stream.read, min(CHUNK_BYTES, left))
    finally:
        stream.close()
