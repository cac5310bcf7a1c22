"""Cloud Run's Knative-like API (v1): services and jobs, and what worker pools have in common with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from poolhouse.cloud.rehearsal import revisions
from poolhouse.cloud.rehearsal.control_plane import Route, route
from poolhouse.cloud.rehearsal.http import ApiError, Request
from poolhouse.cloud.rehearsal.schema import LABELS, anything, boolean, check, list_of, map_of, one_of, text, whole
from poolhouse.cloud.rehearsal.services import artifactregistry, policies, secretmanager
from poolhouse.cloud.rehearsal.services.connections import check_connections
from poolhouse.cloud.rehearsal.state import PROJECT_NUMBER, Json, State

#: Regions that the rehearsal has.
REGIONS = ("europe-west1", "europe-west4", "us-central1", "us-east1")
METADATA = {
    "name": text(r"[a-z]([a-z0-9-]{0,47}[a-z0-9])?"),
    "namespace": text(),
    "labels": LABELS,
    "annotations": map_of(text()),
    "generation": anything,
    "resourceVersion": anything,
    "uid": anything,
    "selfLink": anything,
    "creationTimestamp": anything,
}
INNER = {"name": text(), "labels": map_of(text()), "annotations": map_of(text())}
_PROBE = {
    "httpGet": {"path": text(r"/\S*"), "port": whole(1, 65_535)},
    "tcpSocket": {"port": whole(1, 65_535)},
    "periodSeconds": whole(1, 240),
    "timeoutSeconds": whole(1, 240),
    "failureThreshold": whole(1, 240),
    "initialDelaySeconds": whole(0, 240),
}
_AMOUNTS = {"cpu": text(r"\d+(\.\d+)?|\d+m"), "memory": text(r"\d+(\.\d+)?[MG]i?"), "nvidia.com/gpu": one_of("1")}
CONTAINER = {
    "name": text(),
    "image": text(r"\S+"),
    "command": list_of(text()),
    "args": list_of(text()),
    "env": list_of(
        {
            "name": text(r"[A-Za-z_][A-Za-z0-9_]*"),
            "value": text(),
            "valueFrom": {"secretKeyRef": {"name": text(r"[A-Za-z0-9_-]+"), "key": text(r"latest|[1-9]\d*")}},
        }
    ),
    "ports": list_of({"containerPort": whole(1, 65_535), "name": text()}),
    "resources": {"limits": _AMOUNTS, "requests": _AMOUNTS},
    "startupProbe": _PROBE,
    "livenessProbe": _PROBE,
}
POD = {
    "containers": list_of(CONTAINER, most=10),
    "serviceAccountName": text(),
    "containerConcurrency": whole(1, 1000),
    "timeoutSeconds": whole(1, 604_800),
    "nodeSelector": anything,
    "volumes": list_of(anything),
    "maxRetries": whole(0, 10),
    "runtimeClassName": text(),
}
_SHARE = {
    "percent": whole(0, 100),
    "latestRevision": boolean,
    "revisionName": text(r"[a-z][a-z0-9-]+"),
    "tag": text(r"[a-z][a-z0-9-]*"),
    "url": anything,
}
_SERVICE = {
    "apiVersion": one_of("serving.knative.dev/v1"),
    "kind": one_of("Service"),
    "metadata": METADATA,
    "spec": {"template": {"metadata": INNER, "spec": POD}, "traffic": list_of(_SHARE)},
    "status": anything,
}
_JOB = {
    "apiVersion": one_of("run.googleapis.com/v1"),
    "kind": one_of("Job"),
    "metadata": METADATA,
    "spec": {
        "template": {
            "metadata": INNER,
            "spec": {
                "parallelism": whole(0, 1000),
                "taskCount": whole(1, 10_000),
                "template": {"spec": POD},
            },
        }
    },
    "status": anything,
}
_READY = [
    {"type": "Ready", "status": "True"},
    {"type": "ConfigurationsReady", "status": "True"},
    {"type": "RoutesReady", "status": "True"},
]


def name(state: State, kind: str, region: str, resource: str) -> str:
    """The full name of a service, job or pool in the state."""
    return f"run/{state.project}/{region}/{kind}/{resource}"


def open_to_all(service: dict[str, Any]) -> bool:
    """Whether a service has no invoker check at all."""
    notes = service.get("metadata", {}).get("annotations", {})
    return str(notes.get("run.googleapis.com/invoker-iam-disabled", "false")).lower() == "true"


def check_container(state: State, container: dict[str, Any], account: str | None) -> None:
    """What Cloud Run checks of any container. Raises `ApiError`."""
    image = container.get("image", "")
    ours = f"-docker.pkg.dev/{state.project}/" in image
    if ours and not artifactregistry.has(state, image):
        raise ApiError(
            "INVALID_ARGUMENT", f"Revision is not ready and cannot serve traffic. Image '{image}' not found."
        )
    if account and not state.account_known(account):
        raise ApiError("INVALID_ARGUMENT", f"Service account {account} does not exist.")
    for item in container.get("env", ()):
        if secret := item.get("valueFrom", {}).get("secretKeyRef"):
            secretmanager.check_access(state, secret["name"], secret["key"], account or "")
    limits = container.get("resources", {}).get("limits", {})
    cpu, memory = limits.get("cpu"), limits.get("memory")
    if cpu:
        cores = float(cpu[:-1]) / 1000 if cpu.endswith("m") else float(cpu)
        whole_cores = {2, 4, 6, 8, *((20,) if "nvidia.com/gpu" in limits else ())}
        if cores < 0.08 or (cores > 1 and cores not in whole_cores):
            raise ApiError("INVALID_ARGUMENT", f"Invalid value specified for cpu: {cpu}")
        limits["cpu"] = f"{round(cores * 1000)}m"
    if memory and memory.endswith("Mi") and int(memory[:-2]) < 128:
        raise ApiError("INVALID_ARGUMENT", "Invalid value specified for memory: at least 128Mi")


def _list(kind: str, list_kind: str) -> Any:
    def run(state: State, request: Request) -> Json:
        prefix = name(state, kind, region_of(request), "")
        return {"apiVersion": "v1", "kind": list_kind, "items": state.listed(prefix), "metadata": {}}

    return run


def _list_everywhere(state: State, request: Request) -> Json:
    """The services of all regions."""
    found = [item for region in REGIONS for item in state.listed(name(state, "services", region, ""))]
    return {"apiVersion": "v1", "kind": "ServiceList", "items": found, "metadata": {}}


def _list_revisions(state: State, request: Request) -> Json:
    prefix = name(state, "services", region_of(request), "")
    found = revisions.listed(state, prefix, selector=request.query.get("labelSelector", ""))
    return {"apiVersion": "v1", "kind": "RevisionList", "items": found, "metadata": {}}


def _get(kind: str) -> Any:
    def run(state: State, request: Request, resource: str) -> Json:
        return state.get(
            name(state, kind, region_of(request), resource), message=f"Resource '{resource}' was not found"
        )

    return run


def _delete(kind: str) -> Any:
    def run(state: State, request: Request, resource: str) -> Json:
        state.delete(name(state, kind, region_of(request), resource))
        return {"kind": "Status", "status": "Success"}

    return run


def _create_service(state: State, request: Request) -> Json:
    body = request.json
    full = name(state, "services", region_of(request), body["metadata"]["name"])
    return state.create(full, _service(state, request, body))


def _put_service(state: State, request: Request, resource: str) -> Json:
    full = name(state, "services", region_of(request), resource)
    found, body = state.get(full), request.json
    check_version(found, body)
    state.items[full] = _service(state, request, body)
    return state.items[full]


def _service(state: State, request: Request, body: dict[str, Any]) -> dict[str, Any]:
    check(body, _SERVICE)
    region = region_of(request)
    pod = body["spec"]["template"]["spec"]
    check_container(state, pod["containers"][0], pod.get("serviceAccountName"))
    check_connections(_notes(body["spec"]["template"]), region)
    pod.setdefault("containerConcurrency", 80)
    pod.setdefault("timeoutSeconds", 300)
    label = body["metadata"]["name"]
    owner = name(state, "services", region, label)
    shares = body["spec"].setdefault("traffic", [{"latestRevision": True, "percent": 100}])
    named = [share["revisionName"] for share in shares if "revisionName" in share]
    revisions.check_shares(state, owner, (share.get("percent", 0) for share in shares), named)
    revision = revisions.newest(state, owner, body["spec"]["template"], region=region)
    url = f"https://{label}-{PROJECT_NUMBER}.{region}.run.app"
    made = stamped(state, body, region)
    made["metadata"]["annotations"].setdefault("run.googleapis.com/ingress", "all")
    made["status"] = {
        "observedGeneration": made["metadata"]["generation"],
        "conditions": [{**condition, "lastTransitionTime": state.now()} for condition in _READY],
        "latestReadyRevisionName": revision,
        "latestCreatedRevisionName": revision,
        "url": url,
        "address": {"url": url},
        "traffic": [
            {**share, "revisionName": revision if share.get("latestRevision") else share.get("revisionName")}
            for share in shares
        ],
    }
    return made


def _create_job(state: State, request: Request) -> Json:
    body = request.json
    full = name(state, "jobs", region_of(request), body["metadata"]["name"])
    return state.create(full, _job(state, request, body))


def _put_job(state: State, request: Request, resource: str) -> Json:
    full = name(state, "jobs", region_of(request), resource)
    found, body = state.get(full), request.json
    check_version(found, body)
    state.items[full] = _job(state, request, body)
    return state.items[full]


def _job(state: State, request: Request, body: dict[str, Any]) -> dict[str, Any]:
    check(body, _JOB)
    pod = body["spec"]["template"]["spec"]["template"]["spec"]
    check_container(state, pod["containers"][0], pod.get("serviceAccountName"))
    check_connections(_notes(body["spec"]["template"]), region_of(request))
    made = stamped(state, body, region_of(request))
    made["status"] = {
        "observedGeneration": made["metadata"]["generation"],
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": state.now()}],
        "executionCount": 0,
    }
    return made


def _notes(template: Mapping[str, Any]) -> Mapping[str, str]:
    found: Mapping[str, str] = template.get("metadata", {}).get("annotations", {})
    return found


def stamped(state: State, body: dict[str, Any], region: str) -> dict[str, Any]:
    """Return what was sent with what Cloud Run writes itself."""
    metadata = {
        **body["metadata"],
        # Whatever was sent: Cloud Run calls a namespace by the project's number.
        "namespace": PROJECT_NUMBER,
        "generation": 1 + int(body["metadata"].get("generation", 0)),
        "resourceVersion": state.etag(),
        "uid": str(state.number()),
        "creationTimestamp": body["metadata"].get("creationTimestamp") or state.now(),
        "selfLink": "/apis/run",
        "annotations": dict(body["metadata"].get("annotations", {})),
        "labels": {**body["metadata"].get("labels", {}), "cloud.googleapis.com/location": region},
    }
    return {**body, "metadata": metadata}


def check_version(found: dict[str, Any], body: dict[str, Any]) -> None:
    """Refuse what was read before the present version was written. Raises `ApiError`."""
    sent = body["metadata"].get("resourceVersion")
    if sent and sent != found["metadata"]["resourceVersion"]:
        raise ApiError("ABORTED", "Conflict for resource: the version that was sent is not the present one.")
    # What the service puts there itself comes back with every replacement.
    body["metadata"].get("labels", {}).pop("cloud.googleapis.com/location", None)


def _locations(state: State, request: Request) -> Json:
    path = f"projects/{state.project}/locations"
    return {"locations": [{"name": f"{path}/{region}", "locationId": region} for region in REGIONS]}


def region_of(request: Request) -> str:
    """The region, from the host. Raises `ApiError` where there is none of that name."""
    region = request.host.removesuffix("-run.googleapis.com")
    if region not in REGIONS:
        raise ApiError("NOT_FOUND", f"Location {region} is not found or access is unauthorized.")
    return region


def _policy_name(kind: str) -> Any:
    def full(state: State, location: str, resource: str) -> str:
        return name(state, kind, location, resource)

    return full


_HOST = r"[a-z0-9-]+-run\.googleapis\.com"
_ANY_HOST = r"([a-z0-9-]+-)?run\.googleapis\.com"
_KNATIVE = "/apis/serving.knative.dev/v1/namespaces/{project}/services"
_REVISIONS = "/apis/serving.knative.dev/v1/namespaces/{project}/revisions"
_JOBS = "/apis/run.googleapis.com/v1/namespaces/{project}/jobs"


def _route(method: str, path: str, handler: Any) -> Route:
    return route(method, path, handler, api="run", host=_HOST)


def collection(path: str, kind: str, list_kind: str, create: Any, put: Any) -> tuple[Route, ...]:
    """The routes of one kind of resource: list, create, get, replace, delete, and its policies."""
    one = path + "/{resource}"
    return (
        _route("GET", path, _list(kind, list_kind)),
        _route("POST", path, create),
        _route("GET", one, _get(kind)),
        _route("PUT", one, put),
        _route("DELETE", one, _delete(kind)),
        *policies.routes(
            f"/v1/projects/{{project}}/locations/{{location}}/{kind}/{{resource}}",
            _policy_name(kind),
            api="run",
            host=_ANY_HOST,
        ),
    )


ROUTES: tuple[Route, ...] = (
    *collection(_KNATIVE, "services", "ServiceList", _create_service, _put_service),
    *collection(_JOBS, "jobs", "JobList", _create_job, _put_job),
    _route("GET", _REVISIONS, _list_revisions),
    route("GET", "/v1/projects/{project}/locations", _locations, api="run", host=_ANY_HOST),
    route("GET", "/v1/projects/{project}/locations/-/services", _list_everywhere, api="run"),
)
