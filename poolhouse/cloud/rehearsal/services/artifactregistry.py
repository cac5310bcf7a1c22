"""Artifact Registry: repositories and the images in them."""

from __future__ import annotations

from typing import Any

from poolhouse.cloud.rehearsal.control_plane import Route, route
from poolhouse.cloud.rehearsal.http import Request
from poolhouse.cloud.rehearsal.schema import LABELS, anything, boolean, check, duration, map_of, one_of, text, whole
from poolhouse.cloud.rehearsal.services import policies
from poolhouse.cloud.rehearsal.state import Json, State

_POLICY = {
    "id": text(),
    "action": text(r"(?i)keep|delete"),
    "condition": {
        "tagState": text(r"(?i)any|tagged|untagged|TAG_STATE_UNSPECIFIED"),
        "olderThan": duration(0, 10**9),
        "newerThan": duration(0, 10**9),
    },
    "mostRecentVersions": {"keepCount": whole(0, 10_000), "packageNamePrefixes": anything},
}
_REPOSITORY = {
    "name": text(),
    "format": one_of("DOCKER"),
    "mode": one_of("MODE_UNSPECIFIED", "STANDARD_REPOSITORY"),
    "labels": LABELS,
    "description": text(longest=1024),
    "cleanupPolicies": map_of(_POLICY),
    "cleanupPolicyDryRun": boolean,
}


def _name(state: State, location: str, repository: str) -> str:
    return f"artifactregistry/projects/{state.project}/locations/{location}/repositories/{repository}"


def _list(state: State, request: Request, location: str) -> Json:
    return {"repositories": state.listed(_name(state, location, ""))}


def _get(state: State, request: Request, location: str, repository: str) -> Json:
    return state.get(_name(state, location, repository), message="Requested entity was not found.")


def _create(state: State, request: Request, location: str) -> Json:
    body, repository = request.json, request.query.get("repositoryId", "")
    check(body, _REPOSITORY)
    check(repository, text(r"[a-z][a-z0-9-]{0,61}[a-z0-9]"), "repositoryId")
    path = f"projects/{state.project}/locations/{location}/repositories/{repository}"
    made = {**body, "name": path, "mode": "STANDARD_REPOSITORY", "createTime": state.now(), "updateTime": state.now()}
    state.create(_name(state, location, repository), made, message="the repository already exists")
    return _operation(state, location, made)


def _patch(state: State, request: Request, location: str, repository: str) -> Json:
    body = request.json
    check({key: value for key, value in body.items() if key not in _FILLED_IN}, _REPOSITORY)
    found = state.get(_name(state, location, repository))
    for field in request.query.get("updateMask", "").split(","):
        found[field] = body.get(field)
    return found


def _delete(state: State, request: Request, location: str, repository: str) -> Json:
    state.delete(_name(state, location, repository))
    for key in [key for key in state.items if key.startswith(_image(state, location, repository, ""))]:
        del state.items[key]
    return _operation(state, location, {})


def _packages(state: State, request: Request, location: str, repository: str) -> Json:
    state.get(_name(state, location, repository))
    prefix = _image(state, location, repository, "")
    packages = sorted({key[len(prefix) :].split("@")[0] for key in state.items if key.startswith(prefix)})
    path = f"projects/{state.project}/locations/{location}/repositories/{repository}/packages"
    return {"packages": [{"name": f"{path}/{package}"} for package in packages]}


def _versions(state: State, request: Request, location: str, repository: str, package: str) -> Json:
    state.get(_name(state, location, repository))
    prefix = _image(state, location, repository, package) + "@"
    return {"versions": [item for key, item in state.items.items() if key.startswith(prefix)]}


def _version(state: State, request: Request, *, package: str, version: str, **repository: str) -> Json:
    return state.get(f"{_image(state, package=package, **repository)}@{version}")


def _poll(state: State, request: Request, location: str, operation: str) -> Json:
    return state.poll(f"projects/{state.project}/locations/{location}/operations/{operation}")


def push(state: State, path: str, digest: str) -> None:
    """Keep an image that a build made. `path` is `LOCATION-docker.pkg.dev/PROJECT/REPOSITORY/PACKAGE:TAG`."""
    host, _, repository, package = path.split("/", 3)
    location = host.removesuffix("-docker.pkg.dev")
    package, _, tag = package.partition(":")
    state.get(_name(state, location, repository), message=f'Repository "{repository}" not found')
    parent = f"projects/{state.project}/locations/{location}/repositories/{repository}/packages/{package}"
    tags = [{"name": f"{parent}/tags/{tag}", "version": f"{parent}/versions/{digest}"}]
    state.items[f"{_image(state, location, repository, package)}@{digest}"] = {
        "name": f"{parent}/versions/{digest}",
        "createTime": state.now(),
        "updateTime": state.now(),
        "relatedTags": tags,
        "metadata": {"imageSizeBytes": "104857600", "mediaType": "application/vnd.oci.image.manifest.v1+json"},
    }


def has(state: State, path: str) -> bool:
    """Whether an image is there by digest: `LOCATION-docker.pkg.dev/PROJECT/REPOSITORY/PACKAGE@DIGEST`."""
    parts = path.split("/")
    if len(parts) != 4:
        return False
    location = parts[0].removesuffix("-docker.pkg.dev")
    return _image(state, location, parts[2], parts[3]) in state.items


def _image(state: State, location: str, repository: str, package: str) -> str:
    return f"artifactregistry-images/{state.project}/{location}/{repository}/{package}"


def _operation(state: State, location: str, response: Any) -> Json:
    name = f"projects/{state.project}/locations/{location}/operations/{state.number()}"
    return state.operation(name, response)


_FILLED_IN = {"createTime", "updateTime", "registryUri", "sizeBytes"}
_LOCATION = "/v1/projects/{project}/locations/{location}"
_REPOSITORIES = f"{_LOCATION}/repositories"
_ONE = _REPOSITORIES + "/{repository}"
_API = "artifactregistry"
ROUTES: tuple[Route, ...] = (
    route("GET", _REPOSITORIES, _list, api=_API),
    route("POST", _REPOSITORIES, _create, api=_API),
    route("GET", _ONE, _get, api=_API),
    route("PATCH", _ONE, _patch, api=_API),
    route("DELETE", _ONE, _delete, api=_API),
    route("GET", _ONE + "/packages", _packages, api=_API),
    route("GET", _ONE + "/packages/{package}/versions", _versions, api=_API),
    route("GET", _ONE + "/packages/{package}/versions/(?P<version>[^/]+)", _version, api=_API),
    route("GET", _LOCATION + "/operations/{operation}", _poll, api=_API),
    *policies.routes(_ONE, _name, api=_API),
)
