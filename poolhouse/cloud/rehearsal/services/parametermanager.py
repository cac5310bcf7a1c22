"""Parameter Manager: the autoscaler's configuration."""

from __future__ import annotations

from base64 import b64decode

from poolhouse.cloud.rehearsal.control_plane import Route, route
from poolhouse.cloud.rehearsal.http import ApiError, Request
from poolhouse.cloud.rehearsal.schema import LABELS, anything, boolean, check, one_of, required, text
from poolhouse.cloud.rehearsal.state import Json, State


def _name(state: State, parameter: str) -> str:
    return f"parametermanager/projects/{state.project}/locations/global/parameters/{parameter}"


def _list(state: State, request: Request) -> Json:
    return {"parameters": state.listed(_name(state, ""))}


def _create(state: State, request: Request) -> Json:
    body, parameter = request.json, request.query.get("parameterId", "")
    check(body, {"format": one_of("YAML", "JSON", "UNFORMATTED"), "labels": LABELS, "name": anything, "kmsKey": text()})
    path = f"projects/{state.project}/locations/global/parameters/{parameter}"
    return state.create(_name(state, parameter), {**body, "name": path})


def _delete(state: State, request: Request, parameter: str) -> Json:
    if state.listed(f"{_name(state, parameter)}/versions/"):
        raise ApiError("FAILED_PRECONDITION", "the parameter has versions: delete them first")
    state.delete(_name(state, parameter))


def _versions(state: State, request: Request, parameter: str) -> Json:
    state.get(_name(state, parameter))
    return {"parameterVersions": state.listed(f"{_name(state, parameter)}/versions/")}


def _create_version(state: State, request: Request, parameter: str) -> Json:
    body, version = request.json, request.query.get("parameterVersionId", "")
    check(body, {"payload": {"data": text()}, "disabled": boolean, "name": anything})
    required(body, "payload")
    b64decode(body["payload"]["data"], validate=True)
    parent = state.get(_name(state, parameter))
    path = f"{parent['name']}/versions/{version}"
    return state.create(f"{_name(state, parameter)}/versions/{version}", {**body, "name": path})


def _get_version(state: State, request: Request, parameter: str, version: str) -> Json:
    return state.get(f"{_name(state, parameter)}/versions/{version}")


def _delete_version(state: State, request: Request, parameter: str, version: str) -> Json:
    state.delete(f"{_name(state, parameter)}/versions/{version}")


_PARAMETERS = "/v1/projects/{project}/locations/global/parameters"
_API = "parametermanager"
ROUTES: tuple[Route, ...] = (
    route("GET", _PARAMETERS, _list, api=_API),
    route("POST", _PARAMETERS, _create, api=_API),
    route("DELETE", _PARAMETERS + "/{parameter}", _delete, api=_API),
    route("GET", _PARAMETERS + "/{parameter}/versions", _versions, api=_API),
    route("POST", _PARAMETERS + "/{parameter}/versions", _create_version, api=_API),
    route("GET", _PARAMETERS + "/{parameter}/versions/{version}", _get_version, api=_API),
    route("DELETE", _PARAMETERS + "/{parameter}/versions/{version}", _delete_version, api=_API),
)
