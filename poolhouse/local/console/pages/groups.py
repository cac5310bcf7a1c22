"""A group of tasks: its members counted by status, and what follows them."""

from __future__ import annotations

from urllib.parse import urlencode

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from poolhouse.client import calls
from poolhouse.client.calls import segment
from poolhouse.client.event_stream import FINAL
from poolhouse.local.console import forms, rendering

_EVERY_S = 2.0
_PAGE = 20


def listing(request: Request) -> Response:
    """The groups, the newest first."""
    token = request.query_params.get("page_token", "")
    with rendering.of(request).stack.api() as api:
        page = api.get("/groups", page_size=str(_PAGE), **({"page_token": token} if token else {}))
    following = page["next_page_token"]
    return rendering.page(
        request,
        "groups.html",
        every_s=None if token else _EVERY_S,
        groups=page["groups"],
        final=FINAL,
        first=not token,
        older=f"/groups?{urlencode({'page_token': following})}" if following else "",
    )


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
