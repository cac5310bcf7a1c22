"""`getIamPolicy` and `setIamPolicy`, alike in all APIs but storage."""

from __future__ import annotations

from collections.abc import Callable

from poolhouse.cloud.rehearsal.control_plane import Handler, Route, route
from poolhouse.cloud.rehearsal.http import Request
from poolhouse.cloud.rehearsal.schema import anything, check, list_of, text
from poolhouse.cloud.rehearsal.state import Json, State

BINDINGS = list_of({"role": text(), "members": list_of(text()), "condition": anything})
_BODY = {
    "policy": {"bindings": BINDINGS, "etag": text(), "version": anything, "auditConfigs": anything},
    "updateMask": text(),
}


def routes(
    path: str, name: Callable[..., str], *, api: str, host: str = "", read_method: str = "GET"
) -> tuple[Route, Route]:
    """The two routes of one kind of resource.

    Args:
        path: template of the resource's path.
        name: its full name in the state, from the groups of the path.
        api: the API.
        host: pattern of its host, where it is not the usual.
        read_method: GET, or POST in the older APIs.
    """

    def known(state: State, **groups: str) -> str:
        full = name(state, **groups)
        state.get(full)
        return full

    def read(state: State, request: Request, **groups: str) -> Json:
        return state.policy(known(state, **groups))

    def write(state: State, request: Request, **groups: str) -> Json:
        full = known(state, **groups)
        body = request.json
        check(body, _BODY)
        return state.set_policy(full, body.get("policy", {}))

    def make(method: str, verb: str, handler: Handler) -> Route:
        return route(method, f"{path}:{verb}", handler, api=api, host=host)

    return make(read_method, "getIamPolicy", read), make("POST", "setIamPolicy", write)
