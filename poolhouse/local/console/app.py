"""The console put together: its pages, what surrounds them, and a page for whatever goes wrong."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from poolhouse.client.errors import ApiError
from poolhouse.client.schema import UnknownTaskType
from poolhouse.local.console import rendering, visitor
from poolhouse.local.console.files.bucket import NotShown
from poolhouse.local.console.guard import Guard
from poolhouse.local.console.notes import Notes
from poolhouse.local.console.pages import (
    dead_letters,
    delayed,
    emulator,
    files,
    groups,
    limits,
    logs,
    overview,
    schedules,
    submit,
    tasks,
    triggers,
)
from poolhouse.local.console.rendering import Console
from poolhouse.local.console.stacks import Stack
from poolhouse.local.errors import NoStack
from poolhouse.pipeline.errors import ObjectNotFound, PoolhouseError
from poolhouse.pipeline.web_guard import WebGuard

#: How soon a page that shows an error looks whether it has gone, in seconds.
_AGAIN_S = 2.0


def create_app(stack: Stack, *, guard: WebGuard | None = None, middleware: Sequence[Middleware] = ()) -> ASGIApp:
    """The application that shows a stack.

    Args:
        stack: what it shows.
        guard: says which pages it answers; by default its own, at local names.
        middleware: around its pages, inside the guard.
    """
    parts = (overview, tasks, delayed, groups, limits, submit, files, dead_letters, schedules, triggers, logs, emulator)
    app = Starlette(
        routes=[
            Route("/health", _health),
            Mount("/static", StaticFiles(directory=rendering.HERE / "static")),
            *(route for part in parts for route in part.routes),
        ],
        middleware=middleware,
        exception_handlers={
            PoolhouseError: _failed,
            HTTPException: _refused,
            Exception: _unexpected,
        },
    )
    app.state.console = Console(stack, Notes(), rendering.templates(stack.now))
    return Guard(app, guard or WebGuard())  # around the page for a mistake too


def _health(request: Request) -> Response:
    return PlainTextResponse("healthy\n")


def _failed(request: Request, error: Exception) -> Response:
    """No stack, no answer, or an answer that says no."""
    status = 502
    title, advice = "That did not work", ""
    match error:
        case NoStack():
            status, title = 503, "No stack is up"
            advice = "Start one with ./invoke up: this page goes on by itself."
        case NotShown():
            status, title = 404, "Not shown here"
        case ObjectNotFound() | UnknownTaskType() | ApiError(status=404):
            status, title = 404, "Not found"
        case ApiError(status=0 | 503):
            status, title = 503, "The API does not answer"
            advice = "The overview or ./invoke status may say which service is not ready. This page goes on by itself."
        case ApiError(status=code):
            status = code
    again = _AGAIN_S if status == 503 and request.method == "GET" else None
    return rendering.page(
        request, "error.html", status=status, every_s=again, title=title, text=str(error), advice=advice
    )


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    missing = error.status_code == 404
    title = "There is no such page" if missing else "That is not possible"
    text = request.url.path if missing else error.detail
    return rendering.page(request, "error.html", status=error.status_code, title=title, text=text, advice="")


def _unexpected(request: Request, error: Exception) -> Response:
    # The server logs it with its traceback; a page is no place for that. Only a deployed console knows who is there.
    where = "Cloud Logging, where Logs leads" if visitor.of(request) else "./invoke logs --service console"
    return rendering.page(
        request,
        "error.html",
        status=500,
        title="The console made a mistake",
        text=type(error).__name__,
        advice=f"Its log has the details: {where}.",
    )
