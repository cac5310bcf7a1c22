"""Opening uploads: the client sends the bytes straight to storage."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import Response

from poolhouse.api import bodies
from poolhouse.api.answers import json_answer
from poolhouse.api.problems import field_errors, field_problem, fields_problem
from poolhouse.api.services import Provided, Services
from poolhouse.api.strict_query import StrictQueryRoute
from poolhouse.pipeline import names
from poolhouse.pipeline.errors import ObjectNotFound

#: Cloud Storage, Quotas and limits: 5 TiB an object.
MAX_FILE_BYTES = 5 * 1024**4
#: A media type with its parameters (RFC 9110, 8.3.1), of what any header may hold: ASCII, and no control characters.
_CONTENT_TYPE = r"^[A-Za-z0-9_.+-]+/[A-Za-z0-9_.+-]+( *; *[A-Za-z0-9_.+-]+=(\"[ !#-\[\]-~]*\"|[A-Za-z0-9_.+-]+))*$"

router = APIRouter(tags=["files"], route_class=StrictQueryRoute)


class NewFile(BaseModel):
    """A file to upload."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: names.FileName = Field(description="The name that tasks use; the object is uploads/NAME.")
    content_type: Annotated[str, Field(max_length=255, pattern=_CONTENT_TYPE)] = "application/octet-stream"
    size_bytes: int | None = Field(
        default=None, ge=0, le=MAX_FILE_BYTES, description="Where known: storage then refuses a file of another size."
    )


class Upload(BaseModel):
    """Where and how to send the bytes."""

    name: str
    object: str = Field(examples=["uploads/data.csv"])
    upload_url: str = Field(description="A resumable upload session of Cloud Storage. Its holder can write this file.")
    method: str = "PUT"
    headers: dict[str, str] = Field(description="Headers to send with the bytes.")


@router.post("/files", response_model=Upload, status_code=201, summary="Open an upload")
async def create_file(request: Request, services: Provided) -> Response:
    """Send the bytes to `upload_url`, in one request or in several (resumable upload), then submit a task."""
    try:
        file = NewFile.model_validate(await bodies.read_object(request))
    except ValidationError as error:
        raise fields_problem(field_errors(error)) from None
    await _no_clash(file.name, services)
    url = await services.threads.run(
        services.store.upload_session,
        names.upload(file.name),
        content_type=file.content_type,
        size_bytes=file.size_bytes,
        origin=request.headers.get("origin"),
    )
    answer: dict[str, Any] = {
        "name": file.name,
        "object": names.upload(file.name),
        "upload_url": url,
        "method": "PUT",
        "headers": {"Content-Type": file.content_type},
    }
    return json_answer(answer, 201)


async def _no_clash(name: str, services: Services) -> None:
    """Refuse `a/b` beside `a`: a bucket could hold both, a file system behind an emulator or an export can't."""
    parts = name.split("/")
    parents = ["/".join(parts[:end]) for end in range(1, len(parts))]
    # At the same time: `names.MAX_SEGMENTS` bounds how many they are.
    listing = asyncio.ensure_future(services.threads.run(services.store.list, f"{names.upload(name)}/", page_size=1))
    found = await asyncio.gather(
        *(services.threads.run(services.store.stat, names.upload(parent)) for parent in parents),
        listing,
        return_exceptions=True,
    )
    for parent, result in zip(parents, found, strict=False):
        if isinstance(result, ObjectNotFound):
            continue
        if isinstance(result, BaseException):
            raise result
        raise field_problem("name", f"there is a file {parent} already: it can't be a folder too", status=409)
    if listing.result().objects:
        raise field_problem("name", "is a folder already: it has files in it", status=409)
