"""Groups of tasks: the newest ones, and one of them, its members counted by status and what follows them."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from poolhouse.client import calls
from poolhouse.client.calls import segment
from poolhouse.client.event_stream import FINAL
from poolhouse.local.console import forms, rendering
from poolhouse.local.console.paging import Asked

_EVERY_S = 2.0
_PAGE = 20


def listing(request: Request) -> Response:
    """The groups, the newest first."""
    asked = Asked.of(request)
    with rendering.of(request).stack.api() as api:
        page = api.get("/groups", **asked.query(size=_PAGE))
    return rendering.page(
        request,
        "groups.html",
        every_s=_EVERY_S if asked.first else None,
        groups=page["groups"],
        ended_of={group["group_id"]: _ended(group["counts"]) for group in page["groups"]},
        asked=asked,
        following=page["next_page_token"],
    )


def _ended(counts: Mapping[str, int]) -> int:
    return sum(number for status, number in counts.items() if status in FINAL)


def show(request: Request) -> Response:
    """One group, followed until its end."""
    with rendering.of(request).stack.api() as api:
        group = api.send(calls.group(request.path_params["group_id"]))
    following = [task for name in ("then", "on_failure") if (task := group.get(name)) is not None]
    join = group.get("then")
    over = group["status"] == "cancelled" or (group["status"] == "ended" and (join is None or join["status"] in FINAL))
    return rendering.page(
        request,
        "group.html",
        every_s=None if over else _EVERY_S,
        group=group,
        counts={name: number for name, number in group["counts"].items() if number},
        following=following,
        over=over,
    )


def cancel(request: Request, form: FormData) -> Response:
    """Cancel it, as `POST /groups/ID:cancel` does."""
    group_id = request.path_params["group_id"]
    with rendering.of(request).stack.api() as api:
        api.send(calls.cancel_group(group_id))
    return rendering.go_to(request, f"/groups/{segment(group_id)}", note="Cancelled.")


routes = [
    Route("/groups", listing),
    Route("/groups/{group_id}", show, methods=["GET"]),
    Route("/groups/{group_id}/cancel", forms.posted(cancel), methods=["POST"]),
]
