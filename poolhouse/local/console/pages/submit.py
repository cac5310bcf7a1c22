"""Submitting a task: a form for its type, or its payload as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping

from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from poolhouse.client import schema, units
from poolhouse.client.answers import Document
from poolhouse.client.calls import content_type, segment
from poolhouse.client.client import Client
from poolhouse.client.errors import ApiError
from poolhouse.client.schema import Payload
from poolhouse.local.console import fields, forms, rendering
from poolhouse.pipeline.errors import ConfigError

#: A saved handler is live within two seconds (`up --reload`), and its type soon to be chosen.
_EVERY_S = 3.0
#: What the names of a form's fields begin with: their texts, and their files.
_FIELD, _FILE = "field:", "file:"
#: The whole payload, in the form that has no other fields.
_PAYLOAD, _QUEUE = "payload", "queue"
#: When it runs: a time from now, as `1h`.
_DELAY = "delay"
#: What is said of an answer, by its status.
_NOTES = {
    "submitted": "Submitted.",
    "scheduled": "Scheduled.",
    "exists": "Not submitted: this task is the same, and has not ended.",
}


def types(request: Request) -> Response:
    """The task types to choose from."""
    with rendering.of(request).stack.api() as api:
        openapi = api.get("/openapi.json")
    known = [schema.payload(openapi, name) for name in sorted(schema.task_types(openapi))]
    return rendering.page(request, "types.html", every_s=_EVERY_S, types=known)


def form(request: Request) -> Response:
    """The form of a type; filled in as an earlier task was, or with the values that the address has."""
    asked = request.query_params
    queue = ""
    with rendering.of(request).stack.api() as api:
        known = schema.payload(api.get("/openapi.json"), request.path_params["task_type"])
        values: Document = {name: asked[_FIELD + name] for name in known.properties if asked.get(_FIELD + name)}
        if asked.get("like"):
            like = api.get(f"/tasks/{segment(asked['like'])}")
            values, queue = like.get("payload", {}), like.get("queue", "")
    as_json = "json" in asked
    whole = json.dumps(values or known.example, indent=2, ensure_ascii=False) if as_json else ""
    return _form(request, known, texts=fields.texts(values), whole=whole, as_json=as_json, queue=queue)


def submit(request: Request, filled: FormData) -> Response:
    """Upload what is to be uploaded, submit, and go to the task; or show the form again with what is wrong."""
    as_json = _PAYLOAD in filled
    texts = {name.removeprefix(_FIELD): forms.text(filled, name) for name in filled if name.startswith(_FIELD)}
    whole, queue, delay = (forms.text(filled, name) for name in (_PAYLOAD, _QUEUE, _DELAY))
    with rendering.of(request).stack.api() as api:
        known = schema.payload(api.get("/openapi.json"), request.path_params["task_type"])
        try:
            if not as_json:
                texts |= _upload(api, filled, texts)
            payload = fields.whole(whole) if as_json else fields.payload(known, texts)
            body: Document = {"task_type": known.task_type, "payload": payload}
            if delay.strip():
                body["delay_s"] = units.duration(delay, option="Run in").total_seconds()
            answer = api.post("/tasks", {**body, **({"queue": queue} if queue else {})})
        except ConfigError as error:
            problem, errors = str(error), dict[str, str]()
        except ApiError as error:
            if error.status in {0, 503}:
                raise
            errors = fields.by_field(error.document.get("errors", ()), known)
            problem = errors.pop("", "") or ("" if errors and not as_json else str(error))
        else:
            path, status = f"/tasks/{segment(answer['task_id'])}", answer["status"]
            return rendering.go_to(request, path, note=_NOTES[status], complete=status != "exists")
    return _form(
        request,
        known,
        texts=texts,
        whole=whole,
        as_json=as_json,
        queue=queue,
        delay=delay,
        problem=problem,
        errors=errors,
    )


def _upload(api: Client, filled: FormData, texts: Mapping[str, str]) -> dict[str, str]:
    """Upload the files of a form; the names under which the payload finds them, by field."""
    names: dict[str, str] = {}
    for key, file in filled.multi_items():
        if key.startswith(_FILE) and isinstance(file, UploadFile) and file.filename:
            field = key.removeprefix(_FILE)
            own_name = forms.file_name(file)
            names[field] = texts.get(field, "").strip() or own_name
            api.files.upload(names[field], file.file, size_bytes=file.size or 0, content_type=content_type(own_name))
    return names


def _form(
    request: Request,
    known: Payload,
    *,
    texts: Mapping[str, str],
    whole: str,
    as_json: bool,
    queue: str = "",
    delay: str = "",
    problem: str = "",
    errors: Mapping[str, str] | None = None,
) -> Response:
    wrong = bool(problem or errors)
    return rendering.page(
        request,
        "form.html",
        status=422 if wrong else 200,
        known=known,
        fields=fields.of(known, texts=texts, errors=errors or {}),
        whole=whole,
        as_json=as_json,
        queue=queue,
        delay=delay,
        problem=problem or ("Some fields are wrong." if wrong else ""),
    )


routes = [
    Route("/submit", types),
    Route("/submit/{task_type}", form, methods=["GET"]),
    Route("/submit/{task_type}", forms.posted(submit), methods=["POST"]),
]
