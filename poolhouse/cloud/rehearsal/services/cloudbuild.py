"""Cloud Build: a build of a Dockerfile that ends at once, once all that it needs is there."""

from __future__ import annotations

import hashlib
import io
import tarfile
from typing import Any

from poolhouse.cloud.rehearsal.control_plane import Route, route
from poolhouse.cloud.rehearsal.http import ApiError, Request
from poolhouse.cloud.rehearsal.schema import anything, check, duration, list_of, one_of, required, text
from poolhouse.cloud.rehearsal.services import artifactregistry
from poolhouse.cloud.rehearsal.state import Json, State

_BUILD = {
    "steps": list_of(
        {"name": text(), "args": list_of(text()), "env": list_of(text()), "entrypoint": text(), "id": text()}
    ),
    "images": list_of(text()),
    "source": {"storageSource": {"bucket": text(), "object": text(), "generation": anything}},
    "options": {
        "logging": one_of("GCS_ONLY", "CLOUD_LOGGING_ONLY", "LEGACY"),
        "env": list_of(text()),
        "pool": anything,
        "requestedVerifyOption": one_of("NOT_VERIFIED", "VERIFIED"),
    },
    "timeout": duration(1, 86_400),
    "serviceAccount": text(r"projects/[^/]+/serviceAccounts/\S+"),
    "logsBucket": text(r"gs://\S+"),
    "substitutions": anything,
    "tags": list_of(text()),
}


def _create(state: State, request: Request, location: str) -> Json:
    body = request.json
    check(body, _BUILD)
    required(body, "steps", "source", "serviceAccount")
    number = f"{state.number():08x}-0000-4000-8000-000000000000"
    account = body["serviceAccount"].rpartition("/")[2]
    member = f"serviceAccount:{account}"
    source = body["source"]["storageSource"]
    logs = body.get("logsBucket", "").removeprefix("gs://").partition("/")
    name = f"projects/{state.project}/locations/{location}/builds/{number}"
    problem = _problem(state, body, account, member)
    build: dict[str, Any] = {
        **body,
        "id": number,
        "name": name,
        "projectId": state.project,
        "createTime": state.now(),
        "startTime": state.now(),
        "finishTime": state.now(),
        "status": "FAILURE" if problem else "SUCCESS",
        "logUrl": f"https://console.cloud.google.com/cloud-build/builds/{number}",
    }
    if problem:
        build["failureInfo"] = problem
    else:
        digest = "sha256:" + hashlib.sha256(state.objects[source["bucket"], source["object"]]).hexdigest()
        for image in body.get("images", ()):
            artifactregistry.push(state, image, digest)
        build["results"] = {"images": [{"name": image, "digest": digest} for image in body.get("images", ())]}
    folder = f"{logs[2]}/" if logs[2] else ""
    state.objects[logs[0], f"{folder}log-{number}.txt"] = (problem["detail"] if problem else "DONE").encode() + b"\n"
    state.items[f"cloudbuild/{name}"] = build
    metadata = {"@type": "type.googleapis.com/google.devtools.cloudbuild.v1.BuildOperationMetadata", "build": build}
    return state.operation(
        f"projects/{state.project}/locations/{location}/operations/{number}", build, metadata=metadata
    )


def _problem(state: State, body: dict[str, Any], account: str, member: str) -> dict[str, str] | None:
    """Why a build fails: an account that is not there or may not do its work, a source without Dockerfile."""
    if not state.account_known(account):
        raise ApiError("INVALID_ARGUMENT", f"Service account {account} does not exist.")
    source = body["source"]["storageSource"]
    content = state.objects.get((source["bucket"], source["object"]))
    if content is None:
        raise ApiError("NOT_FOUND", "the source is not there")
    for bucket in (source["bucket"], body.get("logsBucket", "").removeprefix("gs://").partition("/")[0]):
        on = f"storage/b/{bucket}"
        # Before a build begins, the buckets themselves are looked at (Cloud Build, Store build logs).
        if not state.may(member, "storage.buckets.get", on=on):
            raise ApiError(
                "INVALID_ARGUMENT",
                f'invalid bucket "{bucket}"; service account {account} does not have access to the bucket',
            )
        if not state.may(member, "storage.objects.get", on=on, settled=True):
            return _failure("FETCH_SOURCE_FAILED", f"{account} does not have storage.objects.get access to {bucket}")
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        names = {name.removeprefix("./") for name in archive.getnames()}
    if "Dockerfile" not in names:
        return _failure("USER_BUILD_STEP", "unable to evaluate symlinks in Dockerfile path: no such file")
    for image in body.get("images", ()):
        host, _, repository, _ = image.split("/", 3)
        location = host.removesuffix("-docker.pkg.dev")
        name = f"artifactregistry/projects/{state.project}/locations/{location}/repositories/{repository}"
        if not state.may(member, "artifactregistry.repositories.uploadArtifacts", on=name):
            return _failure("PUSH_NOT_AUTHORIZED", f"{account} may not upload to {repository}")
    verified = body.get("options", {}).get("requestedVerifyOption") == "VERIFIED"
    # Provenance is kept by Artifact Analysis (Cloud Build, Generate and validate build provenance).
    if verified and "containeranalysis.googleapis.com" not in state.enabled:
        return _failure("FAILURE_TYPE_UNSPECIFIED", "no provenance: the Container Analysis API is not enabled")
    return None


def _failure(kind: str, detail: str) -> dict[str, str]:
    return {"type": kind, "detail": detail}


def _get(state: State, request: Request, location: str, build: str) -> Json:
    return state.get(f"cloudbuild/projects/{state.project}/locations/{location}/builds/{build}")


def _poll(state: State, request: Request, location: str, operation: str) -> Json:
    return state.poll(f"projects/{state.project}/locations/{location}/operations/{operation}")


_LOCATION = "/v1/projects/{project}/locations/{location}"
ROUTES: tuple[Route, ...] = (
    route("POST", _LOCATION + "/builds", _create, api="cloudbuild"),
    route("GET", _LOCATION + "/builds/{build}", _get, api="cloudbuild"),
    route("GET", _LOCATION + "/operations/{operation}", _poll, api="cloudbuild"),
)
