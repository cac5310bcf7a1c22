"""Tasks: a list to choose from, and one of them followed."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import datetime, timedelta

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from poolhouse.client import schema, units
from poolhouse.client.answers import Document
from poolhouse.client.calls import segment
from poolhouse.client.client import Client
from poolhouse.client.errors import ApiError
from poolhouse.client.event_stream import FINAL
from poolhouse.client.files import CHUNK_BYTES
from poolhouse.local.console import bulk, forms, lines, rendering
from poolhouse.local.console.paging import Asked
from poolhouse.local.console.streaming import stream
from poolhouse.local.console.task import family, timeline, values, waterfall
from poolhouse.pipeline.control.filters import LIVE
from poolhouse.pipeline.tasks.records import Status

_LIST_EVERY_S = 2.0
_TASK_EVERY_S = 1.0
_PAGE = 50
_FILTERS = ("status", "task_type", "queue", "text")
#: Filters that come with a link from what the tasks belong to.
_RELATED = {
    "parent_id": "children of task",
    "group_id": "members of group",
    "trigger": "submitted by trigger",
    "schedule": "submitted by schedule",
}
#: How long after its end a task's dead letter may be on its way.
_LETTER_TIME = timedelta(seconds=30)
#: How long after its end the last spans of a task may be on their way: they are written in batches.
_SPANS_TIME = timedelta(seconds=10)


def listing(request: Request) -> Response:
    """The tasks, the newest first."""
    asked = Asked.of(request, *_FILTERS, *_RELATED)
    with rendering.of(request).stack.api() as api:
        page = api.get("/tasks", count="true", **asked.query(size=_PAGE))
        openapi = api.get("/openapi.json")
    chosen = asked.chosen
    return rendering.page(
        request,
        "tasks.html",
        every_s=_LIST_EVERY_S if asked.first else None,
        tasks=page["tasks"],
        total=page.get("total"),
        asked=asked,
        following=page["next_page_token"],
        statuses=[*Status, "failed,dead", "queued,running,scheduled"],
        related={name: what for name, what in _RELATED.items() if name in chosen},
        # A bulk cancel knows neither text nor relatives: what it would cancel is more than what is shown.
        cancellable=chosen.get("status", Status.QUEUED) in LIVE and not chosen.keys() & {"text", *_RELATED},
        types=sorted(schema.task_types(openapi)),
        queues=schema.queues(openapi),
    )


def cancel_all(request: Request, form: FormData) -> Response:
    """Cancel all that the page's filters mean."""
    chosen = {name: forms.text(form, name) for name in ("status", "task_type", "queue") if forms.text(form, name)}
    meant = {**chosen, "status": [chosen["status"]]} if "status" in chosen else {**chosen, "all": True}
    with rendering.of(request).stack.api() as api:
        note = bulk.cancel(api, "/tasks:cancel", meant)
    return rendering.go_to(request, Asked("/tasks", chosen).address(), note=note)


def find(request: Request) -> Response:
    """From a typed id to its page."""
    return rendering.go_to(request, f"/tasks/{segment(request.query_params.get('id', '').strip())}")


def show(request: Request) -> Response:
    """One task, followed until its end."""
    console = rendering.of(request)
    task_id = request.path_params["task_id"]
    with console.stack.api() as api:
        task: Document = api.get(f"/tasks/{segment(task_id)}")
        letter = _letter(api, task)
        recorded = "updated_at" in task
        relatives = family.of(api, task) if recorded else None
        payload = values.of_payload(api, task["task_type"], task["payload"]) if task.get("payload") else None
    backend = console.stack.backend()
    files = backend.log_files() if backend else None
    spans = console.stack.spans()
    changing = _may_change(task, letter, traced=spans is not None and spans.exist, now=console.stack.now())
    return rendering.page(
        request,
        "task.html",
        every_s=_TASK_EVERY_S if changing else None,
        task=task,
        final=task["status"] in FINAL,
        letter=letter,
        lines=None if files is None else lines.of_task(files, task_id),
        timeline=timeline.of(task, now=console.stack.now()) if recorded else None,
        family=relatives,
        waterfall=None if spans is None else waterfall.of(spans.of_task(task_id), task_id),
        recorded_here=spans is not None,
        payload=payload,
        again=bool(task.get("task_type")) and not task.get("payload_object"),
    )


def result(request: Request) -> Response:
    """Its result as a file. Always as one: a page that a handler made must not run as one of the console's."""
    task_id = request.path_params["task_id"]
    with ExitStack() as opened:
        api = opened.enter_context(rendering.of(request).stack.api())
        answer = opened.enter_context(api.open_result(task_id))
        disposition = answer.headers.get("Content-Disposition", "")
        if not disposition.startswith("attachment;"):
            disposition = f'attachment; filename="{segment(task_id)}.json"'
        return stream(answer.iter_bytes(CHUNK_BYTES), opened, headers={"content-disposition": disposition})


def cancel(request: Request, form: FormData) -> Response:
    """Cancel it, as `POST /tasks/ID:cancel` does."""
    task_id = request.path_params["task_id"]
    with rendering.of(request).stack.api() as api:
        answer = api.post(f"/tasks/{segment(task_id)}:cancel")
    note = (
        "Cancelled."
        if answer["status"] == "cancelled"
        else "Cancel requested: its handler ends at its next checkpoint."
    )
    return rendering.go_to(request, f"/tasks/{segment(task_id)}", note=note)


def again(request: Request, form: FormData) -> Response:
    """Submit another task with the same type, queue and payload."""
    with rendering.of(request).stack.api() as api:
        task: Document = api.get(f"/tasks/{segment(request.path_params['task_id'])}")
        answer = api.post("/tasks", {name: task[name] for name in ("task_type", "queue", "payload")})
    new = answer["status"] != "exists"
    note = "Submitted again." if new else "This task is the same, and has not ended."
    return rendering.go_to(request, f"/tasks/{segment(answer['task_id'])}", note=note, complete=new)


def _letter(api: Client, task: Document) -> Document | None:
    """Its dead letter; None where it has none."""
    if task["status"] not in {"failed", "dead"}:
        return None
    try:
        found: Document = api.get(f"/dead-letters/{segment(task['task_id'])}")
    except ApiError as error:
        if error.status == 404:
            return None
        raise
    return found


def _may_change(task: Document, letter: Document | None, *, traced: bool, now: datetime) -> bool:
    """Whether another look may show something else: its end, or the spans or the dead letter that follow it."""
    if task["status"] not in FINAL:
        return True
    updated_at = units.moment(task.get("updated_at"))
    if updated_at is None:
        return False
    if traced and now - updated_at < _SPANS_TIME:
        return True
    recent = now - updated_at < _LETTER_TIME
    return task["status"] in {"failed", "dead"} and letter is None and "discarded_at" not in task and recent


routes = [
    Route("/tasks", listing),
    Route("/tasks/matching/cancel", forms.posted(cancel_all), methods=["POST"]),
    Route("/find", find),
    Route("/tasks/{task_id}", show, methods=["GET"]),
    Route("/tasks/{task_id}/result", result),
    Route("/tasks/{task_id}/cancel", forms.posted(cancel), methods=["POST"]),
    Route("/tasks/{task_id}/again", forms.posted(again), methods=["POST"]),
]
