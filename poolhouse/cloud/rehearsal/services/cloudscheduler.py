"""Cloud Scheduler: HTTP jobs."""

from __future__ import annotations

from typing import Any

from poolhouse.cloud.rehearsal.control_plane import Handler, Route, route
from poolhouse.cloud.rehearsal.http import ApiError, Request
from poolhouse.cloud.rehearsal.schema import anything, check, duration, map_of, one_of, required, text, whole
from poolhouse.cloud.rehearsal.state import Json, State
from poolhouse.pipeline.config import cron_expression

_JOB = {
    "name": text(),
    "description": text(longest=499),
    "schedule": text(),
    "timeZone": text(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*"),
    "attemptDeadline": duration(15, 1800),
    "retryConfig": {
        "retryCount": whole(0, 5),
        "maxRetryDuration": duration(0, 10**6),
        "minBackoffDuration": duration(0, 10**6),
        "maxBackoffDuration": duration(0, 10**6),
        "maxDoublings": whole(0, 16),
    },
    "httpTarget": {
        "uri": text(r"https?://\S+"),
        "httpMethod": one_of("POST", "GET", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS"),
        "headers": map_of(text()),
        "body": text(r"[A-Za-z0-9+/=_-]*"),
        "oidcToken": {"serviceAccountEmail": text(), "audience": text()},
        "oauthToken": {"serviceAccountEmail": text(), "scope": text()},
    },
    "state": anything,
    "userUpdateTime": anything,
}


def _name(state: State, location: str, job: str) -> str:
    return f"cloudscheduler/projects/{state.project}/locations/{location}/jobs/{job}"


def _list(state: State, request: Request, location: str) -> Json:
    return {"jobs": state.listed(_name(state, location, ""))}


def _create(state: State, request: Request, location: str) -> Json:
    body = request.json
    required(body, "name", "schedule", "httpTarget")
    job = body["name"].rpartition("/")[2]
    _check(state, body)
    message = f"Job already exists (resource={body['name']})."
    return state.create(_name(state, location, job), {**body, "state": "ENABLED"}, message=message)


def _get(state: State, request: Request, location: str, job: str) -> Json:
    return state.get(_name(state, location, job), message=f"Job not found: {job}")


def _patch(state: State, request: Request, location: str, job: str) -> Json:
    body = request.json
    found = state.get(_name(state, location, job))
    _check(state, body)
    for field in filter(None, request.query.get("updateMask", "").split(",")):
        parts = field.split(".")
        source: Any = body
        for part in parts:
            source = source.get(part, {}) if isinstance(source, dict) else {}
        target = found
        for part in parts[:-1]:
            target = target.setdefault(part, {})
        target[parts[-1]] = source
    return found


def _delete(state: State, request: Request, location: str, job: str) -> Json:
    state.delete(_name(state, location, job))


def _switch(to: str) -> Handler:
    def run(state: State, request: Request, location: str, job: str) -> Json:
        found = state.get(_name(state, location, job), message=f"Job not found: {job}")
        found["state"] = to
        return found

    return run


def _check(state: State, body: dict[str, Any]) -> None:
    check(body, _JOB)
    if "schedule" in body:
        try:
            cron_expression.normalized(body["schedule"])
        except ValueError as error:
            raise ApiError("INVALID_ARGUMENT", f"Schedule or time zone is invalid. {error}") from None
    target = body.get("httpTarget", {})
    if "oidcToken" in target and "oauthToken" in target:
        raise ApiError("INVALID_ARGUMENT", "only one of oidcToken and oauthToken")
    if "oauthToken" in target and ".googleapis.com/" not in target.get("uri", ""):
        raise ApiError("INVALID_ARGUMENT", "an OAuth token may only be sent to *.googleapis.com")
    account = (target.get("oidcToken") or target.get("oauthToken") or {}).get("serviceAccountEmail")
    if account and not state.account_known(account):
        raise ApiError("NOT_FOUND", f"Service account {account} does not exist.")


_JOBS = "/v1/projects/{project}/locations/{location}/jobs"
ROUTES: tuple[Route, ...] = (
    route("GET", _JOBS, _list, api="cloudscheduler"),
    route("POST", _JOBS, _create, api="cloudscheduler"),
    route("GET", _JOBS + "/{job}", _get, api="cloudscheduler"),
    route("PATCH", _JOBS + "/{job}", _patch, api="cloudscheduler"),
    route("DELETE", _JOBS + "/{job}", _delete, api="cloudscheduler"),
    route("POST", _JOBS + "/{job}:pause", _switch("PAUSED"), api="cloudscheduler"),
    route("POST", _JOBS + "/{job}:resume", _switch("ENABLED"), api="cloudscheduler"),
)
