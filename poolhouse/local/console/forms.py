"""Forms that browsers send."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import PurePath

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import Response

from poolhouse.local.console import acts
from poolhouse.local.console.guard import MOST_FORM_BYTES

#: Fields and files of one form.
_MOST_FIELDS = 5000
_MOST_FILES = 50


def posted(action: Callable[[Request, FormData], Response]) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint that reads a form and hands it on, on a thread: what follows calls the API and waits."""

    async def endpoint(request: Request) -> Response:
        async with request.form(max_files=_MOST_FILES, max_fields=_MOST_FIELDS, max_part_size=MOST_FORM_BYTES) as form:
            acts.note_form(request, form)
            return await run_in_threadpool(action, request, form)

    return endpoint


def text(form: FormData, name: str) -> str:
    """A field of a form; empty where it is missing, or a file."""
    value = form.get(name)
    return value if isinstance(value, str) else ""


def texts(form: FormData, name: str) -> list[str]:
    """All values of a field."""
    return [value for value in form.getlist(name) if isinstance(value, str)]


def file_name(file: UploadFile) -> str:
    """The name of a sent file without its folders: a browser may send a path, of its own system's kind."""
    return PurePath((file.filename or "").replace("\\", "/")).name
