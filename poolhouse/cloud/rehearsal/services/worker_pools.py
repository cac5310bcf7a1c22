"""Worker pools in Cloud Run's v1 API, where each is replaced whole. Single changes use v2 (`rehearsal/pools.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from poolhouse.cloud.rehearsal import revisions
from poolhouse.cloud.rehearsal.control_plane import Route
from poolhouse.cloud.rehearsal.http import ApiError, Request
from poolhouse.cloud.rehearsal.schema import anything, boolean, check, list_of, one_of, text, whole
from poolhouse.cloud.rehearsal.services import run
from poolhouse.cloud.rehearsal.services.connections import check_connections
from poolhouse.cloud.rehearsal.state import Json, State

KIND = "workerpools"
MODE, INSTANCES = "run.googleapis.com/scalingMode", "run.googleapis.com/manualInstanceCount"
_ACCELERATOR, _ONE_ZONE = "run.googleapis.com/accelerator", "run.googleapis.com/gpu-zonal-redundancy-disabled"
_GPUS, _LOCATION = "nvidia.com/gpu", "cloud.googleapis.com/location"
#: Least and most memory by CPU, in MiB (Cloud Run, Configure CPU and memory limits for worker pools).
_SIZES = {
    "1000m": (512, 4096),
    "2000m": (512, 8192),
    "4000m": (2048, 16384),
    "6000m": (4096, 24576),
    "8000m": (4096, 32768),
}
#: Of instances with a GPU, by its type: CPU and memory at least (Cloud Run, GPU support for worker pools), and the
#: regions of the rehearsal that have some.
_GPU_SIZES = {"nvidia-l4": (4, 16_384), "nvidia-rtx-pro-6000": (20, 81_920)}
_GPU_REGIONS = {
    "nvidia-l4": {"europe-west1", "europe-west4", "us-central1"},
    "nvidia-rtx-pro-6000": {"europe-west4", "us-central1"},
}
#: Longest time that a worker has to pass its startup probe, in seconds.
_STARTUP_S = 240
_POOL = {
    "apiVersion": one_of("run.googleapis.com/v1"),
    "kind": one_of("WorkerPool"),
    "metadata": run.METADATA,
    "spec": {
        "template": {"metadata": run.INNER, "spec": run.POD},
        "instanceSplits": list_of(
            {"percent": whole(0, 100), "latestRevision": boolean, "revisionName": text(r"[a-z][a-z0-9-]+")}
        ),
    },
    "status": anything,
}


def store(state: State, item: dict[str, Any], *, region: str) -> dict[str, Any]:
    """Keep a pool as it was sent, with the revision and the shares that follow from it. Raises `ApiError`."""
    resource, spec = item["metadata"]["name"], item["spec"]
    owner = run.name(state, KIND, region, resource)
    splits = spec.setdefault("instanceSplits", [{"latestRevision": True, "percent": 100}])
    named = [split["revisionName"] for split in splits if "revisionName" in split]
    revisions.check_shares(state, owner, (split.get("percent", 0) for split in splits), named)
    revision = revisions.newest(state, owner, spec["template"], region=region)
    made = run.stamped(state, item, region)
    made["status"] = {
        "observedGeneration": made["metadata"]["generation"],
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": state.now()}],
        "latestReadyRevisionName": revision,
        "latestCreatedRevisionName": revision,
        "instanceSplits": [
            {"percent": split.get("percent", 0), "revisionName": split.get("revisionName", revision)}
            for split in splits
        ],
    }
    state.items[owner] = made
    return made


def _create(state: State, request: Request) -> Json:
    body, region = request.json, run.region_of(request)
    full = run.name(state, KIND, region, body["metadata"]["name"])
    if full in state.items:
        raise ApiError("ALREADY_EXISTS", f"Resource '{body['metadata']['name']}' already exists.")
    _check(state, body, region)
    return store(state, body, region=region)


def _put(state: State, request: Request, resource: str) -> Json:
    body, region = request.json, run.region_of(request)
    found = state.get(run.name(state, KIND, region, resource))
    run.check_version(found, body)
    _check(state, body, region)
    return store(state, body, region=region)


def _check(state: State, body: dict[str, Any], region: str) -> None:
    if (location := body["metadata"].get("labels", {}).pop(_LOCATION, region)) != region:
        raise ApiError("INVALID_ARGUMENT", f"metadata.labels[{_LOCATION}] is {location!r}, asked of {region}.")
    check(body, _POOL)
    notes = body["metadata"].get("annotations", {})
    check(notes.get(MODE), one_of("manual", "automatic"), f"metadata.annotations[{MODE}]")
    check(notes.get(INSTANCES), whole(0, 1000), f"metadata.annotations[{INSTANCES}]")
    template = body["spec"]["template"]
    pod = template["spec"]
    (container,) = pod["containers"]
    run.check_container(state, container, pod.get("serviceAccountName"))
    inner = template.get("metadata", {}).get("annotations", {})
    check_connections(inner, region)
    _check_probes(container)
    _check_size(container["resources"]["limits"])
    _check_gpu(pod, container["resources"]["limits"], inner, region)


def _check_probes(container: Mapping[str, Any]) -> None:
    """A pool has no port that a probe could go to by itself, and no liveness probe of TCP. Raises `ApiError`."""
    for kind in ("startupProbe", "livenessProbe"):
        probe = container.get(kind)
        if probe is None:
            continue
        action = probe.get("httpGet") or (probe.get("tcpSocket") if kind == "startupProbe" else None)
        if not (action and action.get("port")):
            raise ApiError("INVALID_ARGUMENT", f"{kind}: an action with a port is needed in a worker pool.")
        period_s = int(probe.get("periodSeconds", 10))
        if int(probe.get("timeoutSeconds", 1)) > period_s:
            raise ApiError("INVALID_ARGUMENT", f"{kind}.timeoutSeconds must not be above periodSeconds.")
        if kind == "startupProbe" and period_s * int(probe.get("failureThreshold", 3)) > _STARTUP_S:
            raise ApiError("INVALID_ARGUMENT", f"{kind}: failureThreshold * periodSeconds is above {_STARTUP_S}.")


def _check_size(limits: Mapping[str, str]) -> None:
    """Worker pools take fewer sizes than services. Raises `ApiError`."""
    cpu, memory = limits.get("cpu", "1000m"), _mebibytes(limits)
    if _GPUS in limits:
        return
    if cpu not in _SIZES:
        raise ApiError(
            "INVALID_ARGUMENT", f"Invalid value specified for cpu: {cpu}. A worker pool takes 1, 2, 4, 6, 8."
        )
    least, most = _SIZES[cpu]
    if not least <= memory <= most:
        raise ApiError("INVALID_ARGUMENT", f"Invalid memory {memory:g}Mi for {cpu} CPU: {least}Mi to {most}Mi.")


def _check_gpu(pod: Mapping[str, Any], limits: Mapping[str, str], notes: Mapping[str, str], region: str) -> None:
    """A GPU is asked for in two places, and needs a size, a region, and a quota for more zones. Raises `ApiError`."""
    selector = pod.get("nodeSelector", {})
    check(selector, {_ACCELERATOR: one_of(*_GPU_SIZES)}, "spec.template.spec.nodeSelector")
    if (_ACCELERATOR in selector) != (_GPUS in limits):
        raise ApiError("INVALID_ARGUMENT", f"nodeSelector[{_ACCELERATOR}] and the limit {_GPUS} go together.")
    if not selector:
        return
    gpu = selector[_ACCELERATOR]
    cores, mebibytes = _GPU_SIZES[gpu]
    if int(limits["cpu"].removesuffix("m")) < 1000 * cores or _mebibytes(limits) < mebibytes:
        raise ApiError("INVALID_ARGUMENT", f"{gpu} needs at least {cores} CPU and {mebibytes}Mi of memory.")
    if region not in _GPU_REGIONS[gpu]:
        raise ApiError("INVALID_ARGUMENT", f"GPU type {gpu} is not available in region {region}.")
    if notes.get(_ONE_ZONE) != "true":
        raise ApiError("FAILED_PRECONDITION", "You do not have quota for using GPUs with zonal redundancy.")


def _mebibytes(limits: Mapping[str, str]) -> float:
    memory = limits.get("memory", "512Mi")
    return float(memory.rstrip("MGi")) * (1024 if "G" in memory else 1)


ROUTES: tuple[Route, ...] = run.collection(
    "/apis/run.googleapis.com/v1/namespaces/{project}/workerpools", KIND, "WorkerPoolList", _create, _put
)
