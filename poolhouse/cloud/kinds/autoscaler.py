"""CREMA, KEDA's scalers as a Cloud Run service: sets the instances of worker pools by their backlog."""

from __future__ import annotations

import hashlib
import json

from poolhouse.cloud.kinds import containers, run, serving, shares
from poolhouse.cloud.kinds.shares import Division
from poolhouse.cloud.options import Options
from poolhouse.cloud.resource import Command, Fields, Json, Read, Resource, command, entry, flag, pairs
from poolhouse.pipeline.config.scaling import POLL_S, SCALE_DOWN_WINDOW_S
from poolhouse.pipeline.config.topology import Topology

#: The engine, as its makers publish it (CREMA, Image versioning): the line that gets mends, on KEDA 2.20. 1.0 asks for
#: backlogs in a query language that Cloud Monitoring retires.
IMAGE = "us-central1-docker.pkg.dev/cloud-run-oss-images/crema-v1/autoscaler:1.2"
#: The image is built from nothing: Cloud Run lays it on this one.
BASE_IMAGE = "us-central1-docker.pkg.dev/serverless-runtimes/google-24/runtimes/java25"
#: How it runs, as `serving.observed` names it: one instance that always has CPU, closed to all.
_SERVING: Fields = {"min_instances": 1, "max_instances": 1, "cpu_throttling": False, "invoker_check": True}
_WHERE = "--location=global"
PARAMETERS = Read(arguments=("parametermanager", "parameters", "list", _WHERE), api="parametermanager.googleapis.com")


def config(topology: Topology, options: Options) -> str:
    """CREMA's configuration, as JSON (which is YAML too)."""
    authentication = {"metadata": {"name": "own-account"}, "spec": {"podIdentity": {"provider": "gcp"}}}
    targets = []
    for queue in topology.queues:
        pool = f"projects/{options.project}/locations/{options.region}/workerpools/{queue.topic}"
        # Of several triggers the one that wants most instances decides (KEDA, Scaling deployments).
        triggers = [
            {
                "type": "gcp-pubsub",
                "name": queue.name if number == 0 else f"{queue.name}-tier-{number}",
                "metadata": {
                    "subscriptionName": f"projects/{options.project}/subscriptions/{tier.subscription}",
                    "mode": "SubscriptionSize",
                    "value": str(queue.workers.target_backlog),
                },
                "authenticationRef": {"name": "own-account"},
            }
            for number, tier in enumerate(queue.tiers)
        ]
        behavior = {"scaleDown": {"stabilizationWindowSeconds": SCALE_DOWN_WINDOW_S}}
        targets.append(
            {
                "spec": {
                    "scaleTargetRef": {"name": pool},
                    "minReplicaCount": queue.workers.min_instances,
                    "maxReplicaCount": queue.workers.max_instances,
                    "triggers": triggers,
                    "advanced": {"horizontalPodAutoscalerConfig": {"behavior": behavior}},
                }
            }
        )
    spec = {"pollingInterval": POLL_S, "triggerAuthentications": [authentication], "scaledObjects": targets}
    return json.dumps({"apiVersion": "crema/v1", "kind": "CremaConfig", "spec": spec}, indent=1)


def parameter(*, options: Options) -> Resource:
    """The parameter that holds the configuration's versions."""
    name = f"{options.name}-autoscaler"

    def observe(raw: Json) -> Fields | None:
        return None if entry(raw, "name", name) is None else {"format": entry(raw, "name", name).get("format")}

    return Resource(
        kind="parameter",
        name=name,
        wanted={"format": "YAML"},
        read=PARAMETERS,
        observe=observe,
        create=(
            command(
                "parametermanager", "parameters", "create", name, _WHERE, "--parameter-format=yaml",
                flag("labels", pairs(options.labels)),
            ),
        ),
        after=(f"apis/{options.project}",),
        fixed={"format": f"delete the parameter (`gcloud parametermanager parameters delete {name} {_WHERE}`)"},
    )  # fmt: skip


def version(topology: Topology, *, options: Options) -> Resource:
    """The version of the present configuration, named after its content: versions can't be changed."""
    text = config(topology, options)
    revision = f"c-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    holder = f"{options.name}-autoscaler"
    where = (flag("parameter", holder), _WHERE)
    return Resource(
        kind="parameter-version",
        name=revision,
        wanted={"content": revision},
        read=Read(
            arguments=("parametermanager", "parameters", "versions", "describe", revision, *where),
            api="parametermanager.googleapis.com",
            needs=f"parameter/{holder}",
        ),
        observe=lambda raw: {"content": revision} if raw else None,
        create=(
            command(
                "parametermanager", "parameters", "versions", "create", revision, *where,
                "--payload-data-from-file={file:autoscaler.yaml}", files={"autoscaler.yaml": text},
            ),
        ),
        after=(f"parameter/{holder}",),
    )  # fmt: skip


def service(*, revision: str, options: Options, after: tuple[str, ...]) -> Resource:
    """The engine: exactly one instance, with CPU all the time, since it looks by itself.

    Args:
        revision: name of the configuration's version.
        options: the choices of the deploy.
        after: ids of the pools that it scales, and of its grants on them.
    """
    name = f"{options.name}-autoscaler"
    path = f"projects/{options.project}/locations/global/parameters/{name}/versions/{revision}"
    division = Division(
        divide=("run", "services", "update-traffic", name, flag("region", options.region)), field="traffic"
    )
    arguments = (
        "run", "deploy", name, flag("region", options.region), flag("image", IMAGE), flag("base-image", BASE_IMAGE),
        flag("service-account", options.account("autoscaler")), serving.CHECKED, "--no-allow-unauthenticated",
        "--no-cpu-throttling", "--min-instances=1", "--max-instances=1", flag("labels", pairs(options.labels)),
        flag("set-env-vars", f"CREMA_CONFIG={path},OUTPUT_SCALER_METRICS=False,ENABLE_CLOUD_LOGGING=False"),
    )  # fmt: skip
    wanted: Fields = {
        "image": IMAGE,
        "account": options.account("autoscaler"),
        "configuration": revision,
        **_SERVING,
        division.field: division.wanted,
        **containers.label_fields(options),
    }

    def observe(raw: Json) -> Fields | None:
        found = containers.named(raw, name)
        if found is None:
            return None
        spec = found["spec"]["template"]["spec"]
        env = {item["name"]: item.get("value") for item in spec["containers"][0].get("env", ())}
        return {
            "image": spec["containers"][0].get("image"),
            "account": spec.get("serviceAccountName"),
            "configuration": str(env.get("CREMA_CONFIG", "")).rpartition("/")[2],
            **{field: value for field, value in serving.observed(found).items() if field in _SERVING},
            **containers.failed_revision(found),
            division.field: shares.of(found).text,
            **containers.observed_labels(found, options),
        }

    def update(raw: Json) -> tuple[Command, ...]:
        return division.update(arguments, hold="", wanted=wanted, present=observe(raw))

    return Resource(
        kind="service",
        name=name,
        wanted=wanted,
        read=run.services_read(options),
        observe=observe,
        create=(command(*arguments),),
        update=update,
        after=(
            f"parameter-version/{revision}", f"account/{options.account_name('autoscaler')}",
            f"grants/project/{options.project}", f"grants/account/{options.account_name('worker')}", *after,
        ),
    )  # fmt: skip
