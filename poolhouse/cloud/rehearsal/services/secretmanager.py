"""Secret Manager: secrets and their versions. Values are forgotten at once: nothing here has a use for them."""

from __future__ import annotations

from base64 import b64decode

import google_crc32c

from poolhouse.cloud.rehearsal.control_plane import Route, route
from poolhouse.cloud.rehearsal.http import ApiError, Request
from poolhouse.cloud.rehearsal.schema import LABELS, anything, check, required, text
from poolhouse.cloud.rehearsal.services import policies
from poolhouse.cloud.rehearsal.state import PROJECT_NUMBER, Json, State

_SECRET = {
    "name": anything,
    "replication": {"automatic": anything, "userManaged": anything},
    "labels": LABELS,
    "annotations": anything,
}


def _name(state: State, secret: str) -> str:
    return f"secretmanager/projects/{state.project}/secrets/{secret}"


def _list(state: State, request: Request) -> Json:
    return {"secrets": state.listed(_name(state, ""))}


def _create(state: State, request: Request) -> Json:
    body, secret = request.json, request.query.get("secretId", "")
    check(body, _SECRET)
    check(secret, text(r"[A-Za-z0-9_-]{1,255}"), "secretId")
    required(body, "replication")
    path = f"projects/{PROJECT_NUMBER}/secrets/{secret}"
    return state.create(_name(state, secret), {**body, "name": path}, message=f"Secret [{path}] already exists.")


def _get(state: State, request: Request, secret: str) -> Json:
    return state.get(_name(state, secret), message=f"Secret [projects/{PROJECT_NUMBER}/secrets/{secret}] not found.")


def _delete(state: State, request: Request, secret: str) -> Json:
    for name in [name for name in state.items if name.startswith(f"{_name(state, secret)}/versions/")]:
        del state.items[name]
    state.delete(_name(state, secret))


def _add(state: State, request: Request, secret: str) -> Json:
    body = request.json
    check(body, {"payload": {"data": text(), "dataCrc32c": anything}})
    required(body, "payload")
    content, checksum = b64decode(body["payload"]["data"]), body["payload"].get("dataCrc32c")
    if not 0 < len(content) <= 65_536:
        raise ApiError("INVALID_ARGUMENT", "The secret payload must have 1 to 65536 bytes.")
    if checksum is not None and int(checksum) != google_crc32c.value(content):
        raise ApiError("INVALID_ARGUMENT", "The checksum of the payload is not that of its data.")
    found = _get(state, request, secret)
    number = len(state.listed(f"{_name(state, secret)}/versions/")) + 1
    version = {"name": f"{found['name']}/versions/{number}", "state": "ENABLED", "createTime": state.now()}
    made = state.create(f"{_name(state, secret)}/versions/{number}", version)
    return {**made, "clientSpecifiedPayloadChecksum": checksum is not None}


def _versions(state: State, request: Request, secret: str) -> Json:
    _get(state, request, secret)
    return {"versions": list(reversed(state.listed(f"{_name(state, secret)}/versions/")))}


def check_access(state: State, secret: str, version: str, account: str) -> None:
    """Check that a revision could read a secret as it starts. Raises `ApiError` with Cloud Run's message."""
    path = f"projects/{PROJECT_NUMBER}/secrets/{secret}/versions/{version}"
    there = state.listed(f"{_name(state, secret)}/versions/")
    known = there if version == "latest" else [item for item in there if item["name"].endswith(f"/{version}")]
    if not any(item["state"] == "ENABLED" for item in known):
        raise ApiError("INVALID_ARGUMENT", f"Secret {path} was not found")
    member = f"serviceAccount:{account}"
    if not state.may(member, "secretmanager.versions.access", on=_name(state, secret)):
        raise ApiError(
            "INVALID_ARGUMENT",
            f"Permission denied on secret: {path} for Revision service account {account}. The service account used "
            "must be granted the 'Secret Manager Secret Accessor' role.",
        )


_SECRETS = "/v1/projects/{project}/secrets"
_API = "secretmanager"
ROUTES: tuple[Route, ...] = (
    route("GET", _SECRETS, _list, api=_API),
    route("POST", _SECRETS, _create, api=_API),
    route("GET", _SECRETS + "/{secret}", _get, api=_API),
    route("DELETE", _SECRETS + "/{secret}", _delete, api=_API),
    route("POST", _SECRETS + "/{secret}:addVersion", _add, api=_API),
    route("GET", _SECRETS + "/{secret}/versions", _versions, api=_API),
    *policies.routes(_SECRETS + "/{secret}", _name, api=_API),
)
