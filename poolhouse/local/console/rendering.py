"""Pages out of templates: what all of them share, and how times, sizes and values are written."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from poolhouse.client import units
from poolhouse.client.calls import segment
from poolhouse.local.console import acts, visitor
from poolhouse.local.console.files import objects
from poolhouse.local.console.notes import Notes
from poolhouse.local.console.stacks import Stack, StackInfo
from poolhouse.local.console.task import frames, json_tree
from poolhouse.local.console.task.axis import elapsed
from poolhouse.local.console.visitor import Visitor
from poolhouse.pipeline.errors import PoolhouseError

HERE = Path(__file__).parent
#: Characters of one value that a page shows: pages are fetched anew every second or two.
MOST_CHARACTERS = 50_000


@dataclass(frozen=True)
class Place:
    """A page that is a click away, or two keys: `g` and its own."""

    path: str
    name: str
    key: str


PLACES = (
    Place("/", "Overview", "o"),
    Place("/tasks", "Tasks", "t"),
    Place("/submit", "Submit", "s"),
    Place("/files", "Files", "f"),
    Place("/dead-letters", "Dead letters", "d"),
    Place("/schedules", "Schedules", "c"),
    Place("/logs", "Logs", "l"),
    Place("/emulator", "Emulator", "e"),
)
#: What other keys do (static/keys.js).
_KEYS = (
    ("/", "Search"),
    ("j k", "Next and previous row"),
    ("Enter", "Open the row"),
    ("x", "Choose the row"),
    ("u", "Up, to the list"),
    ("?", "This list"),
)
#: The pages of a place that has several: path and name.
_SECTIONS = {
    "/tasks": (("/tasks", "All"), ("/delayed", "Delayed"), ("/groups", "Groups"), ("/limits", "Limits")),
    "/schedules": (("/schedules", "Schedules"), ("/triggers", "Triggers")),
}
_PLACE_OF = {path: place for place, sections in _SECTIONS.items() for path, _ in sections}


@dataclass(frozen=True)
class Console:
    """What the pages stand on; `request.app.state.console`."""

    stack: Stack
    notes: Notes
    templates: Environment


def of(request: Request) -> Console:
    """The console that a request came to."""
    found: Console = request.app.state.console
    return found


def templates(now: Callable[[], datetime]) -> Environment:
    """The templates, which escape whatever they are given; `now` is the time that ages are counted to."""
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["most_characters"] = MOST_CHARACTERS
    environment.filters |= {
        "age": partial(_age, now=now),
        "brief": units.brief,
        "frames": frames.parts,
        "moment": _moment,
        "object_link": lambda text: objects.link((), text),
        "object_page": objects.address,
        "pretty": _pretty,
        "segment": segment,
        "short": _short,
        "size": units.size,
        "span": units.span,
        "ticked": _ticked,
        "tree": partial(json_tree.tree, link=objects.link),
        "took": partial(_took, now=now),
    }
    return environment


def page(
    request: Request, template: str, *, status: int = 200, every_s: float | None = None, **context: Any
) -> HTMLResponse:
    """A page.

    Args:
        request: what it answers.
        template: the name of its template.
        status: the HTTP status.
        every_s: after how many seconds an open page looks again, of a local stack; None: it does not.
        **context: what the template takes.
    """
    console = of(request)
    info = _info(console.stack)
    who = visitor.of(request)
    text = console.templates.get_template(template).render(
        stack=info,
        visitor=who,
        may_act=who is None or who.may_act,
        places=_places(info, who),
        keys=_KEYS,
        here=_here(request.url.path),
        sections=_SECTIONS.get(_here(request.url.path), ()),
        section=request.url.path,
        every_s=every_s * info.pace if every_s and info is not None else every_s,
        note=console.notes.read(request.query_params.get("note", "")),
        **context,
    )
    # Half a surrogate pair, which JSON may have, is shown as JSON writes it: it has no UTF-8.
    return HTMLResponse(text.encode(errors="backslashreplace"), status)


def go_to(request: Request, path: str, *, note: str = "", complete: bool = True) -> Response:
    """After a change: the page that shows it, with a line about it.

    Args:
        request: what asked for the change.
        path: of the page.
        note: the line.
        complete: whether all that was asked for was done.
    """
    if not complete:
        acts.note_incomplete(request)
    if note:
        path += f"{'&' if '?' in path else '?'}note={of(request).notes.add(note)}"
    return RedirectResponse(path, 303)


def _info(stack: Stack) -> StackInfo | None:
    try:
        return stack.info()
    except PoolhouseError:
        return None  # the page itself says what is wrong


def _places(info: StackInfo | None, who: Visitor | None) -> Sequence[Place]:
    """What a person can go to; all of it where nothing is up yet."""
    found = [place for place in PLACES if place.path != "/submit" or who is None or who.may_act]
    if info is None:
        return found
    return [replace(place, path=info.logs_url()) if place.path == "/logs" else place for place in found]


def _here(path: str) -> str:
    """The place that a path belongs to."""
    first = "/" + path.split("/")[1]
    return _PLACE_OF.get(first, first)


def _age(text: str | None, *, now: Callable[[], datetime]) -> str:
    at = units.moment(text)
    return "?" if at is None else units.age(at, now=now())


def _moment(text: str | None) -> str:
    """A time of the API's, in UTC; a script of the page adds the viewer's zone."""
    at = units.moment(text)
    return "?" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _ticked(text: str) -> Markup:
    """What a docstring has between backticks, as code."""
    parts = (
        Markup("<code>{}</code>").format(part) if odd % 2 else escape(part) for odd, part in enumerate(text.split("`"))
    )
    return Markup("").join(parts)


def _took(attempt: Mapping[str, Any], *, now: Callable[[], datetime]) -> str:
    """How long an attempt took, or takes."""
    began, ended = units.moment(attempt["started_at"]), units.moment(attempt.get("ended_at"))
    if began is None:
        return "?"
    seconds = ((ended or now()) - began).total_seconds()
    return elapsed(max(0.0, seconds)) if ended else units.span(max(0.0, seconds))


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _short(text: str) -> str:
    """A text that fits into a page; the API has all of it."""
    left = len(text) - MOST_CHARACTERS
    return text if left <= 0 else f"{text[:MOST_CHARACTERS]}\n… and {left} more characters"
