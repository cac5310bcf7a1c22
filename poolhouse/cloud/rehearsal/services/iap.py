"""Identity-Aware Proxy: who may pass it to a Cloud Run service."""

from __future__ import annotations

import re

from poolhouse.cloud.rehearsal.control_plane import Route, route
from poolhouse.cloud.rehearsal.http import ApiError, Request
from poolhouse.cloud.rehearsal.schema import anything, check, text
from poolhouse.cloud.rehearsal.services import run
from poolhouse.cloud.rehearsal.services.policies import BINDINGS
from poolhouse.cloud.rehearsal.state import PROJECT_NUMBER, Json, State

_PATH = "/v1/projects/{number}/iap_web/{web}/services/{service}"
_BODY = {"policy": {"bindings": BINDINGS, "etag": text(), "version": anything}, "updateMask": text()}


def policy_name(service: str) -> str:
    """The full name of the policy of a service, which itself is called so."""
    return f"iap/{service}"


def in_front_of(service: Json) -> bool:
    """Whether the proxy is before a service of Cloud Run."""
    notes = service.get("metadata", {}).get("annotations", {})
    return str(notes.get("run.googleapis.com/iap-enabled", "false")).lower() == "true"


def _name(state: State, number: str, web: str, service: str) -> str:
    kind = re.fullmatch(r"cloud_run-(?P<region>[a-z0-9-]+)", web)
    if number != PROJECT_NUMBER or kind is None:
        raise ApiError("INVALID_ARGUMENT", "the rehearsal has policies of this project's Cloud Run services only")
    full = run.name(state, "services", kind["region"], service)
    state.get(full)
    return policy_name(full)


def _read(state: State, request: Request, **groups: str) -> Json:
    return state.policy(_name(state, **groups))


def _write(state: State, request: Request, **groups: str) -> Json:
    full = _name(state, **groups)
    check(request.json, _BODY)
    return state.set_policy(full, request.json.get("policy", {}))


ROUTES: tuple[Route, ...] = (
    route("POST", f"{_PATH}:getIamPolicy", _read, api="iap"),
    route("POST", f"{_PATH}:setIamPolicy", _write, api="iap"),
)
