"""Cloud Resource Manager and Service Usage: the project, its policy, its APIs."""

from __future__ import annotations

import re

from poolhouse.cloud.rehearsal.control_plane import Route, route
from poolhouse.cloud.rehearsal.http import ApiError, Request
from poolhouse.cloud.rehearsal.schema import anything, check, list_of, text
from poolhouse.cloud.rehearsal.state import PROJECT_NUMBER, Json, State

_POLICY = {
    "policy": {
        "bindings": list_of({"role": text(), "members": list_of(text()), "condition": anything}),
        "etag": text(),
        "version": anything,
        "auditConfigs": anything,
    },
    "updateMask": text(),
}


def _describe(state: State, request: Request) -> Json:
    return {
        "projectId": state.project,
        "projectNumber": PROJECT_NUMBER,
        "lifecycleState": "ACTIVE",
        "name": state.project,
        "createTime": state.now(),
    }


def _policy_name(state: State) -> str:
    return f"cloudresourcemanager/projects/{state.project}"


def _get_policy(state: State, request: Request) -> Json:
    return state.policy(_policy_name(state))


def _set_policy(state: State, request: Request) -> Json:
    body = request.json
    check(body, _POLICY)
    return state.set_policy(_policy_name(state), body["policy"])


def _services(state: State, request: Request) -> Json:
    if request.query.get("filter") != "state:ENABLED":
        raise ApiError("INVALID_ARGUMENT", "the rehearsal lists enabled services only")
    return {"services": [_service(state, name) for name in sorted(state.enabled)]}


def _get_service(state: State, request: Request, service: str) -> Json:
    return _service(state, service)


def _batch_enable(state: State, request: Request) -> Json:
    body = request.json
    check(body, {"serviceIds": list_of(text(r"[a-z0-9.-]+\.googleapis\.com"), most=20)})
    state.enabled.update(body["serviceIds"])
    return state.operation(f"operations/acf.p2-{PROJECT_NUMBER}-{state.number()}", {})


def _enable(state: State, request: Request, service: str) -> Json:
    state.enabled.add(service)
    return state.operation(f"operations/acf.p2-{PROJECT_NUMBER}-{state.number()}", {})


def _identity(state: State, request: Request, service: str) -> Json:
    """The agent, which many services have only once it is asked for (Service Usage, generateServiceIdentity)."""
    if service not in state.enabled:
        raise ApiError("FAILED_PRECONDITION", f"Service {service} is not enabled for consumer {state.project}.")
    state.agents.add(service)
    short = service.removesuffix(".googleapis.com")
    email = f"service-{PROJECT_NUMBER}@gcp-sa-{short}.iam.gserviceaccount.com"
    # Done at once, always: gcloud does not ask again.
    response = {"email": email, "uniqueId": str(10**20 + state.number())}
    return {"name": "operations/finished.DONE_OPERATION", "done": True, "response": response}


def _operation(state: State, request: Request, name: str) -> Json:
    return state.poll(f"operations/{name}")


def _service(state: State, name: str) -> Json:
    if not re.fullmatch(r"[a-z0-9.-]+\.googleapis\.com", name):
        raise ApiError("NOT_FOUND", f"Service {name} not found")
    return {
        "name": f"projects/{PROJECT_NUMBER}/services/{name}",
        "config": {"name": name},
        "state": "ENABLED" if name in state.enabled else "DISABLED",
        "parent": f"projects/{PROJECT_NUMBER}",
    }


_MANAGER, _USAGE = "cloudresourcemanager", "serviceusage"
ROUTES: tuple[Route, ...] = (
    route("GET", "/v1/projects/{project}", _describe, api=_MANAGER, gated=False),
    route("POST", "/v1/projects/{project}:getIamPolicy", _get_policy, api=_MANAGER),
    route("POST", "/v1/projects/{project}:setIamPolicy", _set_policy, api=_MANAGER),
    route("GET", "/v1/projects/{project}/services", _services, api=_USAGE, gated=False),
    route("POST", "/v1/projects/{project}/services:batchEnable", _batch_enable, api=_USAGE, gated=False),
    route("POST", "/v1/projects/{project}/services/{service}:enable", _enable, api=_USAGE, gated=False),
    route(
        "POST",
        "/v1beta1/projects/{project}/services/{service}:generateServiceIdentity",
        _identity,
        api=_USAGE,
        gated=False,
    ),
    route("GET", "/v1/projects/{project}/services/{service}", _get_service, api=_USAGE, gated=False),
    route("GET", "/v1/operations/{name}", _operation, api=_USAGE, gated=False),
)
