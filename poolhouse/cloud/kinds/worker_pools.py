"""Worker pools of Cloud Run: each is declared whole, in a file, since gcloud has no flags for all that one can have."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import replace

from poolhouse.cloud.errors import CloudError
from poolhouse.cloud.gcloud.release_tracks import ReleaseTracks
from poolhouse.cloud.kinds import connections, containers, run, secrets, shares
from poolhouse.cloud.kinds.containers import Container
from poolhouse.cloud.kinds.shares import Canary, Division
from poolhouse.cloud.options import Options
from poolhouse.cloud.resource import Command, Fields, Json, Read, Resource, command, flag
from poolhouse.pipeline import numbers
from poolhouse.pipeline.config.queue import Queue
from poolhouse.pipeline.config.topology import Topology

#: The variable with the port of a worker's `GET /health`, and the port unless `[env]` says otherwise; 0: no probes.
_PORT, HEALTH_PORT = "WORKER_HEALTH_PORT", "8081"
#: A worker has four minutes to import its handlers: the most that Cloud Run gives.
_STARTUP = {"periodSeconds": 5, "timeoutSeconds": 4, "failureThreshold": 48}
#: More patient than the watchdog inside, which ends a stuck worker in order: this is for one that can't look at itself.
_LIVENESS = {"periodSeconds": 30, "timeoutSeconds": 10, "failureThreshold": 4}
#: What Cloud Run takes where a probe says nothing (Cloud Run Admin API v1, Probe).
_DEFAULTS = {
    "initialDelaySeconds": 0,
    "timeoutSeconds": 1,
    "periodSeconds": 10,
    "failureThreshold": 3,
    "successThreshold": 1,
}
MODE, INSTANCES = "run.googleapis.com/scalingMode", "run.googleapis.com/manualInstanceCount"
LOCATION = "cloud.googleapis.com/location"
#: Where a template names its GPU, and where it says that the GPU need not be there in several zones.
ACCELERATOR, ONE_ZONE = "run.googleapis.com/accelerator", "run.googleapis.com/gpu-zonal-redundancy-disabled"
_GPUS = "nvidia.com/gpu"
#: Annotations of a template that pipeline.toml decides on; others that somebody has added stay.
_OURS = {connections.INTERFACES, connections.EGRESS, connections.CLOUD_SQL, ONE_ZONE}
#: Annotations that Cloud Run and gcloud write themselves: those that gcloud leaves out of an export, and its own.
_WRITTEN = re.compile(
    r"client\.knative\.dev/.*|serving\.knative\.dev/(creator|lastModifier)|"
    r"run\.googleapis\.com/(client-(name|version)|(creator|lastModifier)Email|operation-id)"
)


def pool(
    queue: Queue,
    *,
    topology: Topology,
    image: str,
    options: Options,
    tracks: ReleaseTracks,
    canary: Canary | None = None,
) -> Resource:
    """The worker pool of a queue.

    Without an autoscaler its size is fixed: the least instances, but one, since a pool of none would never work.
    With one, the number is the autoscaler's business: it is set once, and then not compared, and left as it is.

    A canary is at least one whole instance, and one more than there are else: of two revisions that share a single
    instance, one would have none (Cloud Run, Manual scaling).
    """
    name = queue.topic
    container = run.worker(
        queue,
        ("run",),
        topology=topology,
        options=options,
        **{_PORT: HEALTH_PORT, "WORKER_HEALTH_HOST": "0.0.0.0"},  # noqa: S104 - a pool has no ingress
    )
    instances = fixed_instances(queue) + (1 if canary else 0)
    fixed = {} if options.autoscale else {"instances": instances}
    if canary and fixed:
        canary = replace(canary, percent=max(canary.percent, math.ceil(100 / instances)))
    division = pool_division(name, options=options, tracks=tracks, canary=canary)
    gpu, probes = queue.workers.gpu, _probes(container.env)
    wanted: Fields = {
        **container.wanted(image),
        **({"gpu": gpu} if gpu else {}),
        **{_field(kind): _probe_text(probe) for kind, probe in probes.items()},
        **fixed,
        division.field: division.wanted,
        **containers.label_fields(options),
    }
    template = _template(container, gpu=gpu, probes=probes, options=options)

    def declare(present: Json, count: int) -> Command:
        declared = json.dumps(
            _manifest(present, template, name=name, count=count, division=division, options=options),
            indent=2,
            ensure_ascii=False,  # gcloud reads it as YAML, where an escape is no half of a surrogate pair
        )
        return command(*tracks.worker_pools, "replace", f"{{file:{name}.json}}", files={f"{name}.json": declared})

    def observe(raw: Json) -> Fields | None:
        found = containers.named(raw, name)
        if found is None:
            return None
        spec = found["spec"]["template"]["spec"]
        running = spec["containers"][0]
        accelerator = spec.get("nodeSelector", {}).get(ACCELERATOR)
        return {
            **containers.observed_fields(running, spec),
            **({"gpu": accelerator} if accelerator else {}),
            **{
                _field(kind): _probe_text(running[kind])
                for kind in ("startupProbe", "livenessProbe")
                if kind in running
            },
            **connections.observed(found["spec"]["template"], options),
            **({"instances": _count(found)} if fixed else {}),
            division.field: shares.of(found).text,
            **containers.failed_revision(found),
            **containers.observed_labels(found, options),
        }

    def update(raw: Json) -> tuple[Command, ...]:
        found = containers.named(raw, name)
        if found is not None and not division.deploys(wanted, observe(raw)):
            return (division.command(),)
        scaled = _count(found) if found is not None and not fixed else None
        return (declare(found, instances if scaled is None else scaled),)

    made = run.resource(
        "pool",
        name,
        wanted=wanted,
        observe=observe,
        create=declare(None, instances if fixed else queue.workers.min_instances),
        options=options,
        account="worker",
        read=pools_read(options, tracks),
        update=update,
        after=(
            *run.granted(options, *(tier.subscription for tier in queue.tiers)),
            *secrets.granted(topology.secrets_of(queue), options),
        ),
    )
    return replace(made, moving=not fixed)


def fixed_instances(queue: Queue) -> int:
    """How many instances a pool without an autoscaler has."""
    return max(1, queue.workers.min_instances)


def pool_division(name: str, *, options: Options, tracks: ReleaseTracks, canary: Canary | None = None) -> Division:
    """How a pool's instances are divided between revisions."""
    divide = (*tracks.worker_pools, "update-instance-split", name, flag("region", options.region))
    return Division(divide=divide, field="split", canary=canary)


def pools_read(options: Options, tracks: ReleaseTracks) -> Read:
    """How worker pools are listed."""
    return Read(arguments=(*tracks.worker_pools, "list", flag("region", options.region)), api=run.API)


def _probes(env: Mapping[str, str]) -> Mapping[str, Json]:
    """The probes of a worker with these variables, by their fields in a container; none without a port."""
    try:
        port = numbers.port(env[_PORT])
    except ValueError as error:
        raise CloudError(f"{_PORT} under [env] of pipeline.toml {error}; 0 means no probes.") from None
    if port == 0:
        return {}
    asked = {"httpGet": {"path": "/health", "port": port}}
    return {"startupProbe": {**asked, **_STARTUP}, "livenessProbe": {**asked, **_LIVENESS}}


def _probe_text(probe: Json) -> str:
    """A probe for a person, without what is Cloud Run's default."""
    get = probe.get("httpGet", {})
    rest = {name: value for name, value in probe.items() if name != "httpGet" and _DEFAULTS.get(name) != value}
    words = [f"GET :{get.get('port')}{get.get('path', '/')}"] if get else []
    return ", ".join([*words, *(f"{name} {value}" for name, value in sorted(rest.items()))])


def _field(kind: str) -> str:
    """The field of the plan: startup_probe for startupProbe."""
    return kind.replace("Probe", "_probe")


def _template(container: Container, *, gpu: str | None, probes: Mapping[str, Json], options: Options) -> Json:
    """The template of a pool's revisions."""
    running = {**container.manifest(), **probes}
    spec: Json = {"serviceAccountName": container.account, "containers": [running]}
    annotations = dict(container.connections.annotations())
    if gpu:
        running["resources"]["limits"][_GPUS] = "1"
        spec["nodeSelector"] = {ACCELERATOR: gpu}
        annotations[ONE_ZONE] = "true"
    return {"metadata": {"labels": dict(options.labels), "annotations": annotations}, "spec": spec}


def _manifest(present: Json, template: Json, *, name: str, count: int, division: Division, options: Options) -> Json:
    """The declaration of a pool, with the labels and annotations that others have given to the present one."""
    metadata, inner = _metadata(present or {}), _metadata((present or {}).get("spec", {}).get("template", {}))
    kept = {key: value for key, value in inner["annotations"].items() if key not in _OURS}
    return {
        "apiVersion": "run.googleapis.com/v1",
        "kind": "WorkerPool",
        "metadata": {
            "name": name,
            "labels": {**metadata["labels"], **options.labels, LOCATION: options.region},
            "annotations": {**metadata["annotations"], MODE: "manual", INSTANCES: str(count)},
        },
        "spec": {
            "template": {
                **template,
                "metadata": {**template["metadata"], "annotations": {**kept, **template["metadata"]["annotations"]}},
            },
            "instanceSplits": list(division.splits),
        },
    }


def _metadata(item: Json) -> Mapping[str, Mapping[str, str]]:
    """Labels and annotations that are not Cloud Run's own."""
    found = item.get("metadata", {})
    annotations = {key: text for key, text in found.get("annotations", {}).items() if not _WRITTEN.fullmatch(key)}
    return {"labels": found.get("labels", {}), "annotations": annotations}


def _count(item: Json) -> int | None:
    """How many instances a pool that is there has."""
    text = item["metadata"].get("annotations", {}).get(INSTANCES)
    return int(text) if text is not None else None
