"""The frame of every page, and how names, times and amounts are written."""

from __future__ import annotations

import urllib.parse
from datetime import UTC, datetime
from typing import Any

from poolhouse_pubsub import names
from poolhouse_pubsub.http import HttpResponse
from poolhouse_pubsub.transport.transcoding import to_json
from poolhouse_pubsub.ui.markup import Html, html

#: After how many seconds an open page looks again.
EVERY_S = 2
PLACES = (
    ("/ui", "Overview"),
    ("/ui/schemas", "Schemas"),
    ("/ui/clients", "Clients"),
    ("/ui/faults", "Clock and faults"),
)

_FRAME = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title} · Pub/Sub emulator</title>
<link rel="icon" href="/ui/static/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/ui/static/ui.css">
<script src="/ui/static/ui.js" defer></script>
</head>
<body{every}>
<a class="skip" href="#main">To the content</a>
<header>
<a class="brand" href="/ui">Pub/Sub emulator</a>
<nav aria-label="Pages">{places}</nav>
<span class="pulse" role="status"></span>
</header>
<main id="main">
{notice}{error}{body}
</main>
</body>
</html>
"""


def page(
    title: str, body: Html, *, here: str = "", status: int = 200, live: bool = True, notice: str = "", error: str = ""
) -> HttpResponse:
    """Return a page.

    Args:
        title: Of the window.
        body: What is in it; its elements with `data-live` are kept up to date.
        here: Path of the place that it belongs to.
        status: The HTTP status.
        live: Whether an open page looks again.
        notice: What was done.
        error: What was refused.
    """
    text = html(
        _FRAME,
        title=title,
        every=html(' data-every="{every}"', every=EVERY_S) if live else None,
        places=(
            html(
                '<a href="{path}"{current}>{name}</a>',
                path=path,
                name=name,
                current=Html(' aria-current="page"') if path == here else None,
            )
            for path, name in PLACES
        ),
        notice=html('<p class="note good" role="status">{text}</p>', text=notice) if notice else None,
        error=html('<p class="note bad" role="alert">{text}</p>', text=error) if error else None,
        body=body,
    )
    return HttpResponse(status, text.encode("utf-8", "replace"), "text/html; charset=utf-8")


def path_of(name: str, *rest: str) -> str:
    """Return the path of a resource's page by its full name, or of an action on it."""
    _, project, kind, id = name.split("/", 3)
    return "/".join(("/ui", kind, *(urllib.parse.quote(part, safe="") for part in (project, id)), *rest))


def link(name: str) -> Html:
    """Return a link to a resource's page, with its id and its project."""
    if name == names.DELETED_TOPIC:
        return html('<span class="muted">deleted topic</span>')
    _, project, _, id = name.split("/", 3)
    return html(
        '<a href="{path}">{id}</a> <span class="muted small">{project}</span>',
        path=path_of(name),
        id=id,
        project=project,
    )


def config_text(config: Any) -> str:
    """Return a resource as JSON."""
    return to_json(config, pretty=True, enum_numbers=False).decode()


def moment(seconds: float) -> str:
    """Return a time, in UTC."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}.{int(seconds % 1 * 1000):03d} UTC"


def span(seconds: float) -> str:
    """Return a length of time."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    raise AssertionError("above a minute one of them fits")


def amount(count: float) -> str:
    """Return a number with separators."""
    return f"{count:,.0f}"


def rate(value: float | None) -> str:
    """Return a rate, or what stands for one that is not known yet."""
    return "…" if value is None else f"{value:,.3g}/s" if value < 100 else f"{value:,.0f}/s"
