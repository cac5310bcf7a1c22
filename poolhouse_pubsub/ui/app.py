"""Routes of the console, and what a browser may do with its pages."""

from __future__ import annotations

import urllib.parse
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

from poolhouse_pubsub.http import HttpRequest, HttpResponse
from poolhouse_pubsub.status import HTTP_STATUS, Code, StatusError
from poolhouse_pubsub.ui import clients, faults, overview, schemas, subscriptions, topics
from poolhouse_pubsub.ui.calls import Form
from poolhouse_pubsub.ui.console import Console
from poolhouse_pubsub.ui.layout import page
from poolhouse_pubsub.ui.markup import Html, html

#: What was done, by the word in the address that leads to the page: no link puts words of its own on it.
DONE = {
    "acknowledged": "The message is acknowledged.",
    "advanced": "The clock is advanced.",
    "cleared": "All faults are cleared.",
    "created": "Created.",
    "deleted": "Deleted.",
    "detached": "The subscription is detached from its topic.",
    "fault": "The fault is set.",
    "nacked": "The message is given back: it is delivered again.",
    "published": "Published.",
    "pulled": "Pulled: what was ready is leased now, until it is acknowledged or its deadline ends.",
    "pulled-nothing": "Nothing was ready to be pulled.",
    "restarted": "Streams ended and leases were lost; no message was.",
    "sought": "The subscription is at that place now.",
}
_STATIC = {"icon.svg": "image/svg+xml", "ui.css": "text/css; charset=utf-8", "ui.js": "text/javascript; charset=utf-8"}
#: Scripts and styles are files of the console; pages go nowhere else and can't be framed.
_SECURITY = (
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    ("cache-control", "no-store"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    # Not no-referrer: with that, browsers send `Origin: null` with forms.
    ("referrer-policy", "same-origin"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
)
#: A page by the path after `/ui`, where it exists. It is given what was refused, with the form as it was filled in.
_Show = Callable[[Console, HttpRequest, str, Form], HttpResponse]
_Act = Callable[[Console, Form], Awaitable[HttpResponse]]


class Ui:
    """The application under `/ui`.

    Args:
        console: What it shows.
    """

    def __init__(self, console: Console) -> None:
        self._console = console

    async def __call__(self, request: HttpRequest) -> HttpResponse | None:
        """Answer a request, or return None when its path is not below `/ui`."""
        first, *rest = (urllib.parse.unquote(part) for part in request.path.strip("/").split("/"))
        if first != "ui":
            return None
        response = await self._answer(request, tuple(rest))
        return replace(response, headers=(*response.headers, *_SECURITY))

    async def _answer(self, request: HttpRequest, parts: tuple[str, ...]) -> HttpResponse:
        try:
            if request.method in ("GET", "HEAD"):
                if parts[:1] == ("static",):
                    return _static(parts[1:])
                return _page(parts)(self._console, request, "", Form())
            if request.method != "POST":
                return _error("Not allowed", f"{request.method} is not answered here.", 405)
            # Programs have the API; a form of these pages is sent by a browser, which says where it comes from.
            if request.headers.get("sec-fetch-site") is None and "origin" not in request.headers:
                return _error("Refused", "A change needs an Origin header that names this console.", 403)
            return await self._act(request, parts)
        except StatusError as error:
            return _error(error.code.name.replace("_", " ").capitalize(), error.message, HTTP_STATUS[error.code])

    async def _act(self, request: HttpRequest, parts: tuple[str, ...]) -> HttpResponse:
        show, act = _action(parts)
        form = Form.of(request)
        try:
            done = await act(self._console, form)
        except StatusError as error:
            shown = show(self._console, replace(request, query={}), error.message, form)
            return replace(shown, status=HTTP_STATUS[error.code])
        self._console.service.emulator.pump()
        return done


def notice(request: HttpRequest) -> str:
    """Return the line about what was done."""
    return DONE.get(request.query.get("done", ""), "")


def _page(parts: tuple[str, ...]) -> _Show:
    match parts:
        case ():
            return lambda console, request, error, form: overview.show(
                console, request, notice=notice(request), error=error, form=form
            )
        case ("schemas",):
            return lambda console, request, error, form: schemas.show_all(
                console, notice=notice(request), error=error, form=form
            )
        case ("clients",):
            return lambda console, request, error, form: clients.show(console)
        case ("faults",):
            return lambda console, request, error, form: faults.show(
                console, notice=notice(request), error=error, form=form
            )
        case ("topics", project, id):
            name = f"projects/{project}/topics/{id}"
            return lambda console, request, error, form: topics.show(
                console, name, request, notice=notice(request), error=error, form=form
            )
        case ("subscriptions", project, id):
            name = f"projects/{project}/subscriptions/{id}"
            return lambda console, request, error, form: subscriptions.show(
                console, name, request, notice=notice(request), error=error
            )
        case ("schemas", project, id):
            name = f"projects/{project}/schemas/{id}"
            return lambda console, request, error, form: schemas.show(
                console, name, notice=notice(request), error=error
            )
    raise _no_page(parts)


def _action(parts: tuple[str, ...]) -> tuple[_Show, _Act]:
    """Return the page that has the form, and what the form does."""
    match parts:
        case ("topics",):
            return _page(()), overview.create_topic
        case ("snapshots", project, id, "delete"):
            return _page(()), lambda console, form: overview.delete_snapshot(
                console, f"projects/{project}/snapshots/{id}"
            )
        case ("schemas",):
            return _page(parts), schemas.create
        case ("schemas", project, id, "delete"):
            return _page(parts[:3]), lambda console, form: schemas.delete(console, f"projects/{project}/schemas/{id}")
        case ("topics", project, id, str(verb)) if verb in topics.ACTIONS:
            name = f"projects/{project}/topics/{id}"
            return _page(parts[:3]), lambda console, form: topics.ACTIONS[verb](console, name, form)
        case ("subscriptions", project, id, str(verb)) if verb in subscriptions.ACTIONS:
            name = f"projects/{project}/subscriptions/{id}"
            return _page(parts[:3]), lambda console, form: subscriptions.ACTIONS[verb](console, name, form)
        case ("faults",):
            return _page(parts), faults.add
        case ("faults", str(verb)) if verb in faults.ACTIONS:
            return _page(parts[:1]), faults.ACTIONS[verb]
    raise _no_page(parts)


def _no_page(parts: tuple[str, ...]) -> StatusError:
    return StatusError(Code.NOT_FOUND, f"There is no page /ui/{'/'.join(parts)[:300]}.")


def _error(title: str, text: str, status: int) -> HttpResponse:
    body = html('<h1>{title}</h1><p><a href="/ui">To the overview</a></p>', title=title)
    return page(title, Html(body), status=status, live=False, error=text)


def _static(parts: tuple[str, ...]) -> HttpResponse:
    name = "/".join(parts)
    if name not in _STATIC:
        raise _no_page(("static", *parts))
    return HttpResponse(200, _file(name), _STATIC[name])


@cache
def _file(name: str) -> bytes:
    return Path(__file__).with_name("static").joinpath(name).read_bytes()
