"""Dead letters: what failed for good, looked at, replayed, discarded."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from poolhouse.client.answers import Document
from poolhouse.client.calls import segment
from poolhouse.client.client import Client
from poolhouse.client.errors import ApiError
from poolhouse.client.letter import own_payload
from poolhouse.local.console import bulk, fields, forms, rendering
from poolhouse.local.console.paging import Asked
from poolhouse.local.console.task import values
from poolhouse.local.console.task.json_tree import Node
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.tasks.large_values import PAYLOAD_SHA256

_EVERY_S = 3.0
_PAGE = 50
_FILTERS = ("queue", "task_type", "reason")
#: Bytes of a message that is no text, as they are shown.
_SHOWN_BYTES = 256


def listing(request: Request) -> Response:
    """The dead letters of one queue, or of all."""
    asked = Asked.of(request, *_FILTERS)
    with rendering.of(request).stack.api() as api:
        page = api.get("/dead-letters", **asked.query(size=_PAGE))
        queues = [queue["name"] for queue in api.get("/queues")["queues"]]
    return rendering.page(
        request,
        "dead_letters.html",
        every_s=_EVERY_S if asked.first else None,
        letters=page["dead_letters"],
        asked=asked,
        following=page["next_page_token"],
        queues=queues,
    )


def show(request: Request) -> Response:
    """One of them, whole."""
    with rendering.of(request).stack.api() as api:
        letter = api.get(f"/dead-letters/{segment(request.path_params['task_id'])}")
        return _show(request, api, letter, payload=_payload(letter))


def replay(request: Request, form: FormData) -> Response:
    """Give the chosen ones a new life."""
    return _each(request, form, verb="replay", done="Replayed")


def discard(request: Request, form: FormData) -> Response:
    """Give the chosen ones up for good."""
    return _each(request, form, verb="discard", done="Discarded")


def all_matching(request: Request, form: FormData) -> Response:
    """Replay or discard all that the page's filters mean."""
    verb = request.path_params["verb"]
    if verb not in {"replay", "discard"}:
        raise HTTPException(404)
    chosen = {name: forms.text(form, name) for name in _FILTERS if forms.text(form, name)}
    with rendering.of(request).stack.api() as api:
        note = bulk.dead_letters(api, verb, {**chosen, "all": True})
    return rendering.go_to(request, Asked("/dead-letters", chosen).address(), note=note)


def replay_changed(request: Request, form: FormData) -> Response:
    """Give one a new life with another payload; or show it again with what is wrong with that."""
    task_id, text = request.path_params["task_id"], forms.text(form, "payload")
    with rendering.of(request).stack.api() as api:
        try:
            if not text.strip():  # as the form of a large payload is: an empty object has to be meant
                raise ConfigError("Write a whole payload as JSON, or replay the task as it is.")
            api.post(f"/dead-letters/{segment(task_id)}:replay", {"payload": fields.whole(text)})
        except (ConfigError, ApiError) as error:
            letter = api.get(f"/dead-letters/{segment(task_id)}")
            return _show(request, api, letter, payload=text, problem=str(error))
    return rendering.go_to(request, f"/tasks/{segment(task_id)}", note="Replayed with this payload.")


def _each(request: Request, form: FormData, *, verb: str, done: str) -> Response:
    ids = forms.texts(form, "id")
    with rendering.of(request).stack.api() as api:
        failures = _failures(api, ids, verb)
    if len(ids) == 1 and verb == "replay" and not failures:
        return rendering.go_to(request, f"/tasks/{segment(ids[0])}", note="Replayed.")
    said = [f"{done} {len(ids) - len(failures)} of {len(ids)}." if ids else "Nothing was chosen.", *failures]
    return rendering.go_to(request, "/dead-letters", note=" ".join(said), complete=bool(ids) and not failures)


def _failures(api: Client, ids: Sequence[str], verb: str) -> list[str]:
    """Call the verb on each; what went wrong, by id."""
    found = []
    for task_id in ids:
        try:
            api.post(f"/dead-letters/{segment(task_id)}:{verb}")
        except ApiError as error:
            if error.status in {0, 503}:
                raise  # the API does not answer: the rest would wait as long each
            found.append(f"{task_id}: {error}.")
    return found


def _show(request: Request, api: Client, letter: Document, *, payload: str, problem: str = "") -> Response:
    return rendering.page(
        request,
        "dead_letter.html",
        status=422 if problem else 200,
        letter=letter,
        message=_message(letter),
        tree=_tree(api, letter),
        payload=payload,
        problem=problem,
    )


def _payload(letter: Document) -> str:
    try:
        return json.dumps(own_payload(letter), indent=2, ensure_ascii=False)
    except ConfigError:
        # The message is none of a task: a payload has to be written anew. A large one stays where it is, and an empty
        # text can't be sent in its place by mistake.
        return "" if PAYLOAD_SHA256 in letter.get("attributes", {}) else "{}"


def _message(letter: Document) -> str:
    """The original body: JSON set out, other text as it is, bytes by their values."""
    if letter.get("data") is None:
        raw = base64.b64decode(letter.get("data_base64") or "")
        more = f" … and {len(raw) - _SHOWN_BYTES} more" if len(raw) > _SHOWN_BYTES else ""
        return f"{len(raw)} bytes that are no text: {raw[:_SHOWN_BYTES].hex(' ')}{more}"
    text = str(letter["data"])
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def _tree(api: Client, letter: Document) -> Node | None:
    """The original body as a tree; None where it is no JSON object."""
    try:
        body = json.loads(letter.get("data") or "")
    except (ValueError, RecursionError):
        return None
    return values.of_payload(api, letter.get("task_type") or "", body) if isinstance(body, dict) else None


routes = [
    Route("/dead-letters", listing),
    Route("/dead-letters/replay", forms.posted(replay), methods=["POST"]),
    Route("/dead-letters/discard", forms.posted(discard), methods=["POST"]),
    Route("/dead-letters/matching/{verb}", forms.posted(all_matching), methods=["POST"]),
    Route("/dead-letters/{task_id}", show, methods=["GET"]),
    Route("/dead-letters/{task_id}/replay", forms.posted(replay_changed), methods=["POST"]),
]
