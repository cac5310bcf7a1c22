"""IAM: service accounts, and the federation of GitHub's identities."""

from __future__ import annotations

import re

from poolhouse.cloud.rehearsal.control_plane import Route, route
from poolhouse.cloud.rehearsal.http import ApiError, Request
from poolhouse.cloud.rehearsal.schema import anything, boolean, check, list_of, map_of, required, text
from poolhouse.cloud.rehearsal.services import policies
from poolhouse.cloud.rehearsal.state import PROJECT_NUMBER, Json, State

_ACCOUNT = {"displayName": text(longest=100), "description": text(longest=256), "etag": anything}
_PROVIDER = {
    "displayName": text(longest=32),
    "description": text(longest=256),
    "disabled": boolean,
    "attributeMapping": map_of(text()),
    "attributeCondition": text(longest=4096),
    "oidc": {"issuerUri": text(r"https://\S+"), "allowedAudiences": list_of(text()), "jwksJson": text()},
}


def _name(state: State, account: str) -> str:
    return f"iam/projects/{state.project}/serviceAccounts/{account}"


def _list(state: State, request: Request) -> Json:
    return {"accounts": state.listed(_name(state, ""))}


def _create(state: State, request: Request) -> Json:
    body = request.json
    check(body, {"accountId": text(r"[a-z]([a-z0-9-]{4,28}[a-z0-9])"), "serviceAccount": _ACCOUNT})
    required(body, "accountId")
    email = f"{body['accountId']}@{state.project}.iam.gserviceaccount.com"
    account = {
        **body.get("serviceAccount", {}),
        "name": f"projects/{state.project}/serviceAccounts/{email}",
        "email": email,
        "projectId": state.project,
        "uniqueId": str(10**20 + state.number()),
        "etag": state.etag(),
    }
    message = f"Service account {body['accountId']} already exists within project projects/{state.project}."
    return state.create(_name(state, email), account, message=message)


def _get(state: State, request: Request, account: str) -> Json:
    return state.get(_name(state, account), message=f"Unknown service account: {account}")


def _patch(state: State, request: Request, account: str) -> Json:
    body = request.json
    check(body, {"serviceAccount": {**_ACCOUNT, "name": text(), "email": text()}, "updateMask": text()})
    found = state.get(_name(state, account))
    for field in re.split(r"[,\s]+", body.get("updateMask", "")):
        key = {"display_name": "displayName"}.get(field, field)
        found[key] = body.get("serviceAccount", {}).get(key, "")
    return found


def _enable(state: State, request: Request, account: str) -> Json:
    state.get(_name(state, account)).pop("disabled", None)


def _delete(state: State, request: Request, account: str) -> Json:
    state.delete(_name(state, account))


def _pool(state: State, pool: str) -> str:
    return f"iam/projects/{state.project}/locations/global/workloadIdentityPools/{pool}"


def _get_pool(state: State, request: Request, pool: str) -> Json:
    return state.get(_pool(state, pool))


def _create_pool(state: State, request: Request) -> Json:
    body, pool = request.json, request.query.get("workloadIdentityPoolId", "")
    check(body, {"displayName": text(longest=32), "description": text(longest=256), "disabled": boolean})
    check(pool, text(r"(?!gcp-)[a-z0-9-]{4,32}"), "workloadIdentityPoolId")
    name = f"projects/{PROJECT_NUMBER}/locations/global/workloadIdentityPools/{pool}"
    made = state.create(_pool(state, pool), {**body, "name": name, "state": "ACTIVE"})
    return state.operation(f"{name}/operations/{state.number()}", made)


def _get_provider(state: State, request: Request, pool: str, provider: str) -> Json:
    return state.get(f"{_pool(state, pool)}/providers/{provider}")


def _create_provider(state: State, request: Request, pool: str) -> Json:
    body, provider = request.json, request.query.get("workloadIdentityPoolProviderId", "")
    check(body, _PROVIDER)
    check(provider, text(r"(?!gcp-)[a-z0-9-]{4,32}"), "workloadIdentityPoolProviderId")
    state.get(_pool(state, pool))
    required(body, "attributeMapping")
    if "google.subject" not in body["attributeMapping"]:
        raise ApiError("INVALID_ARGUMENT", "google.subject must be mapped")
    if "token.actions.githubusercontent.com" in body.get("oidc", {}).get("issuerUri", "") and not body.get(
        "attributeCondition"
    ):
        raise ApiError("INVALID_ARGUMENT", "The attribute condition must reference one of the provider's claims.")
    name = f"projects/{PROJECT_NUMBER}/locations/global/workloadIdentityPools/{pool}/providers/{provider}"
    made = state.create(f"{_pool(state, pool)}/providers/{provider}", {**body, "name": name, "state": "ACTIVE"})
    return state.operation(f"{name}/operations/{state.number()}", made)


def _operation(state: State, request: Request, name: str) -> Json:
    return state.poll(name)


_ACCOUNTS = "/v1/projects/{project}/serviceAccounts"
_POOLS = "/v1/projects/{project}/locations/global/workloadIdentityPools"
ROUTES: tuple[Route, ...] = (
    route("GET", _ACCOUNTS, _list, api="iam"),
    route("POST", _ACCOUNTS, _create, api="iam"),
    route("GET", _ACCOUNTS + "/{account}", _get, api="iam"),
    route("PATCH", _ACCOUNTS + "/{account}", _patch, api="iam"),
    route("DELETE", _ACCOUNTS + "/{account}", _delete, api="iam"),
    route("POST", _ACCOUNTS + "/{account}:enable", _enable, api="iam"),
    *policies.routes(_ACCOUNTS + "/{account}", _name, api="iam", read_method="POST"),
    route("POST", _POOLS, _create_pool, api="iam"),
    route("GET", _POOLS + "/{pool}", _get_pool, api="iam"),
    route("POST", _POOLS + "/{pool}/providers", _create_provider, api="iam"),
    route("GET", _POOLS + "/{pool}/providers/{provider}", _get_provider, api="iam"),
    Route(
        method="GET",
        host=r"iam\.googleapis\.com",
        path=r"/v1/(?P<name>.+/operations/\d+)",
        handler=_operation,
        api="iam",
    ),
)
