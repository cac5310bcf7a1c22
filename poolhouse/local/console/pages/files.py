"""Files: the bucket folder by folder, one file looked at, downloaded, processed; others uploaded."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import chain
from urllib.parse import quote, urlencode

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from poolhouse.client import schema
from poolhouse.client.calls import content_type
from poolhouse.client.client import Client
from poolhouse.client.errors import ApiError
from poolhouse.local.console import forms, rendering
from poolhouse.local.console.files import objects
from poolhouse.local.console.files.bucket import Bucket, Folder, NotShown, Opened
from poolhouse.local.console.files.preview import HEAD_BYTES, Preview, embedded_type, preview
from poolhouse.local.console.paging import Asked
from poolhouse.local.console.streaming import stream
from poolhouse.pipeline.names import UPLOADS

#: Whatever the bytes are: nothing runs, nothing is loaded. A PDF is shown by the browser's own viewer, which a sandbox
#: would keep from working, in a page of the console.
_IMAGE_POLICY = "default-src 'none'; sandbox"
_PDF_POLICY = "default-src 'none'; object-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'self'"


def browse(request: Request) -> Response:
    """What lies directly below a prefix."""
    asked = Asked.of(request, "prefix")
    prefix = asked.chosen.get("prefix", "")
    folder: Folder | None = None
    problem = ""
    with rendering.of(request).stack.bucket() as bucket:
        try:
            folder = bucket.folder(prefix, page_token=asked.token or None)
        except NotShown as error:
            problem = str(error)
    return rendering.page(
        request,
        "files.html",
        prefix=prefix,
        crumbs=objects.folders_of(prefix),
        folder=folder,
        what=objects.KEPT if not prefix else {},
        problem=problem,
        upload_to=prefix.removeprefix(UPLOADS) if prefix.startswith(UPLOADS) else "",
        asked=asked,
        following=folder.next_page_token if folder is not None else None,
    )


def show(request: Request) -> Response:
    """One file, with a preview."""
    name = _name(request)
    stack = rendering.of(request).stack
    with stack.bucket() as bucket:
        with bucket.open(name) as opened:
            info = opened.info
            head = opened.head(HEAD_BYTES)
        found: Preview = preview(info, head, whole=lambda most_bytes: _whole(bucket, name, most_bytes))
    with stack.api() as api:
        takers = _takers(api, name)
    return rendering.page(
        request, "file.html", file=info, preview=found, crumbs=objects.folders_of(name), takers=takers
    )


def raw(request: Request) -> Response:
    """An image or a PDF, for the page that shows it; nothing else is ever served under a type that browsers show."""
    with ExitStack() as stack:
        opened = _open(request, stack)
        first = next(opened.pieces, b"")
        media_type = embedded_type(first)
        if media_type is None:
            raise HTTPException(415, "This is no image and no PDF: download it.")
        pdf = media_type == "application/pdf"
        headers = {
            "content-security-policy": _PDF_POLICY if pdf else _IMAGE_POLICY,
            "content-disposition": f"inline; {_file_name(opened)}",
            **({"x-frame-options": "SAMEORIGIN"} if pdf else {}),
        }
        return stream(chain((first,), opened.pieces), stack, headers=headers, media_type=media_type)


def download(request: Request) -> Response:
    """The file, to be saved."""
    with ExitStack() as stack:
        opened = _open(request, stack)
        return stream(opened.pieces, stack, headers={"content-disposition": f"attachment; {_file_name(opened)}"})


def upload(request: Request, form: FormData) -> Response:
    """Send files to `uploads/`, straight to storage."""
    folder = forms.text(form, "folder").strip().strip("/")
    sent: list[str] = []
    note = ""
    with rendering.of(request).stack.api() as api:
        for file in form.getlist("file"):
            if not isinstance(file, UploadFile) or not file.filename:
                continue
            own_name = forms.file_name(file)
            name = f"{folder}/{own_name}" if folder else own_name
            try:
                api.files.upload(name, file.file, size_bytes=file.size or 0, content_type=content_type(own_name))
            except ApiError as error:
                if error.status in {0, 503}:
                    raise
                note = f"{own_name} was not uploaded: {error}"
                break
            sent.append(name)
    if len(sent) == 1 and not note:
        return rendering.go_to(request, objects.address(UPLOADS + sent[0]), note="Uploaded.")
    counted = f"Uploaded {len(sent)} files." if sent else "" if note else "Choose a file first."
    where = f"/files?{urlencode({'prefix': UPLOADS + (f'{folder}/' if folder else '')})}"
    return rendering.go_to(
        request, where, note=" ".join(filter(None, (counted, note))), complete=bool(sent) and not note
    )


def _takers(api: Client, name: str) -> list[tuple[str, str]]:
    """The task types that take an uploaded file: each with the address of its form, filled in with this one."""
    if not name.startswith(UPLOADS):
        return []
    openapi = api.get("/openapi.json")
    known = (schema.payload(openapi, task_type) for task_type in sorted(schema.task_types(openapi)))
    return [
        (
            each.task_type,
            f"/submit/{quote(each.task_type, safe='')}?{urlencode({f'field:{field}': name.removeprefix(UPLOADS)})}",
        )
        for each in known
        for field in each.upload_fields[:1]
    ]


def _whole(bucket: Bucket, name: str, most_bytes: int) -> bytes | None:
    with bucket.open(name) as opened:
        data = opened.head(most_bytes + 1)
    return data if len(data) <= most_bytes else None


def _open(request: Request, stack: ExitStack) -> Opened:
    bucket = stack.enter_context(rendering.of(request).stack.bucket())
    return stack.enter_context(bucket.open(_name(request)))


def _file_name(opened: Opened) -> str:
    return f"filename*=UTF-8''{quote(opened.info.name.rpartition('/')[2], safe='')}"


def _name(request: Request) -> str:
    name = request.query_params.get("name", "")
    if not name:
        raise HTTPException(404, "The address names no file.")
    return name


routes = [
    Route("/files", browse),
    Route("/files/object", show),
    Route("/files/raw", raw),
    Route("/files/download", download),
    Route("/files/upload", forms.posted(upload), methods=["POST"]),
]
