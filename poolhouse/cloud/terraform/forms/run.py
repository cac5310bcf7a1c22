"""Services, worker pools and jobs of Cloud Run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from poolhouse.cloud.kinds.connections import CLOUD_SQL, EGRESS, INTERFACES
from poolhouse.cloud.kinds.worker_pools import ACCELERATOR, INSTANCES, LOCATION, MODE, ONE_ZONE
from poolhouse.cloud.resource import IMAGE, Json, Resource
from poolhouse.cloud.terraform.declaration import Declaration
from poolhouse.cloud.terraform.flags import Flags
from poolhouse.cloud.terraform.form import Context, Piece, imported, resource
from poolhouse.cloud.terraform.hcl import Block, Expression, Value

#: What gcloud calls the volume of the Cloud SQL instances, as Cloud Run mounts it.
_CLOUD_SQL = "cloudsql"
_INGRESS = {"all": "INGRESS_TRAFFIC_ALL", "internal": "INGRESS_TRAFFIC_INTERNAL_ONLY"}


def service(item: Resource, flags: Flags, context: Context) -> Iterator[Piece]:
    """A service."""
    # A service starts with no grant: `allow` would add one to allUsers.
    flags.ignore("no-allow-unauthenticated")
    connections = _connections(flags)
    container = _container(flags, context, connections, idle=flags.switch("cpu-throttling"))
    scaling: dict[str, Value] = {
        "min_instance_count": int(flags.text("min-instances")),
        "max_instance_count": int(flags.text("max-instances")),
    }
    concurrency = flags.optional("concurrency")
    template: dict[str, Value] = {
        "service_account": context.account(flags.text("service-account")),
        "timeout": flags.optional("timeout") or None,
        "max_instance_request_concurrency": int(concurrency) if concurrency else None,
    }
    attributes: dict[str, Value] = {
        **_head(item, _labels(flags)),
        "ingress": _INGRESS[flags.optional("ingress") or "all"],
        "invoker_iam_disabled": flags.refused("invoker-iam-check"),
        "iap_enabled": flags.switch("iap") or None,
    }
    latest: dict[str, Value] = {"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100}
    blocks = (
        Block("template", (), template, (Block("scaling", (), scaling), container, *connections)),
        Block("traffic", (), latest),
    )
    address = context.of("service", item.name)
    yield Piece(resource(address, attributes, *blocks), imported(context.regional("services", item.name)))


def pool(item: Resource, flags: Flags, context: Context) -> Iterator[Piece]:
    """A worker pool; how many instances a scaled one has is the autoscaler's business."""
    declared = flags.declaration()
    for path in (
        ("apiVersion",),
        ("kind",),
        ("metadata", "name"),
        ("metadata", "labels", LOCATION),
        ("spec", "instanceSplits"),
    ):
        declared.take(*path)
    annotations = ("metadata", "annotations")
    scaling: dict[str, Value] = {
        "scaling_mode": declared.take(*annotations, MODE).upper(),
        "manual_instance_count": int(declared.take(*annotations, INSTANCES)),
    }
    labels = declared.take("metadata", "labels")
    declared.take("spec", "template", "metadata", "labels")  # the provider gives revisions those of the pool
    notes, spec = ("spec", "template", "metadata", "annotations"), ("spec", "template", "spec")
    connections = _blocks_of_connections(
        interfaces=json.loads(declared.take(*notes, INTERFACES, default="[]")),
        egress=declared.take(*notes, EGRESS, default=""),
        instances=declared.take(*notes, CLOUD_SQL, default=""),
    )
    accelerator = declared.take(*spec, "nodeSelector", ACCELERATOR, default="")
    template: dict[str, Value] = {
        "service_account": context.account(declared.take(*spec, "serviceAccountName")),
        "gpu_zonal_redundancy_disabled": bool(declared.take(*notes, ONE_ZONE, default="")) or None,
    }
    container = _declared_container(declared, (*spec, "containers", 0), context, connections)
    gpu = (Block("node_selector", (), {"accelerator": accelerator}),) if accelerator else ()
    blocks = [Block("scaling", (), scaling), Block("template", (), template, (*gpu, container, *connections))]
    if "instances" not in item.wanted:
        blocks.append(Block("lifecycle", (), {"ignore_changes": [Expression("scaling")]}))
    address = context.of("pool", item.name)
    yield Piece(resource(address, _head(item, labels), *blocks), imported(context.regional("workerPools", item.name)))


def job(item: Resource, flags: Flags, context: Context) -> Iterator[Piece]:
    """A job."""
    task: dict[str, Value] = {
        "service_account": context.account(flags.text("service-account")),
        "timeout": flags.text("task-timeout"),
        "max_retries": int(flags.text("max-retries")),
    }
    connections = _connections(flags)
    inner = Block("template", (), task, (_container(flags, context, connections), *connections))
    template = Block("template", (), {"task_count": int(flags.text("tasks"))}, (inner,))
    address = context.of("job", item.name)
    yield Piece(resource(address, _head(item, _labels(flags)), template), imported(context.regional("jobs", item.name)))


def _labels(flags: Flags) -> Mapping[str, str]:
    flags.text("region")
    return flags.pairs("labels")


def _head(item: Resource, labels: Mapping[str, str]) -> Mapping[str, Value]:
    return {
        "name": item.name,
        "location": Expression("local.region"),
        "deletion_protection": Expression("var.deletion_protection"),
        "labels": labels,
    }


def _connections(flags: Flags) -> tuple[Block, ...]:
    """The blocks that connect to a network and to Cloud SQL."""
    interfaces, egress = [], ""
    if network := flags.optional("network"):
        tags, egress = flags.optional("network-tags"), flags.text("vpc-egress")
        interface = {"network": network, "subnetwork": flags.text("subnet")}
        interfaces = [{**interface, "tags": tags.split(",")} if tags else interface]
    instances = flags.optional("set-cloudsql-instances")
    return _blocks_of_connections(interfaces=interfaces, egress=egress, instances=instances)


def _blocks_of_connections(*, interfaces: Sequence[Json], egress: str, instances: str) -> tuple[Block, ...]:
    blocks = []
    for each in interfaces:
        interface: dict[str, Value] = {
            "network": each["network"],
            "subnetwork": each["subnetwork"],
            "tags": each.get("tags"),
        }
        attributes: dict[str, Value] = {"egress": egress.replace("-", "_").upper()}
        blocks.append(Block("vpc_access", (), attributes, (Block("network_interfaces", (), interface),)))
    if instances:
        volume = Block("cloud_sql_instance", (), {"instances": instances.split(",")})
        blocks.append(Block("volumes", (), {"name": _CLOUD_SQL}, (volume,)))
    return tuple(blocks)


def _container(flags: Flags, context: Context, connections: Sequence[Block], *, idle: bool | None = None) -> Block:
    """The one container.

    Args:
        flags: of its commands.
        context: of the deployment.
        connections: the blocks beside it.
        idle: whether it has CPU during requests alone; None: it serves none.
    """
    flags.ignore("clear-secrets")  # a configuration without secrets has none
    command, arguments = flags.optional("command"), flags.optional("args")
    attributes: dict[str, Value] = {
        "image": _image(flags.text("image")),
        "base_image_uri": flags.optional("base-image") or None,
        "command": [command] if command else None,
        "args": arguments.split(",") if arguments else None,
    }
    cpu, memory = flags.optional("cpu"), flags.optional("memory")
    limits = {"cpu": cpu, "memory": memory} if cpu else None
    blocks = [Block("resources", (), {"limits": limits, "cpu_idle": idle})] if cpu or idle is not None else []
    blocks += [_variable(name, text, context) for name, text in flags.pairs("set-env-vars").items()]
    for name, reference in flags.pairs("set-secrets").items():
        secret, _, version = reference.rpartition(":")
        blocks.append(_secret(name, secret, version, context))
    if probe := flags.pairs("startup-probe"):
        blocks.append(_probe("startup_probe", {**probe, "httpGet": {"path": probe["httpGet.path"]}}))
    return Block("containers", (), attributes, (*blocks, *_mounts(connections)))


def _declared_container(
    declared: Declaration, at: tuple[str | int, ...], context: Context, connections: Sequence[Block]
) -> Block:
    """The one container of a pool; as `_container`.

    Args:
        declared: what declares the pool.
        at: where the container is.
        context: of the deployment.
        connections: the blocks beside it.
    """
    attributes: dict[str, Value] = {
        "image": _image(declared.take(*at, "image")),
        "command": declared.take(*at, "command"),
        "args": declared.take(*at, "args"),
    }
    blocks = [Block("resources", (), {"limits": declared.take(*at, "resources", "limits")})]
    for item in declared.take(*at, "env"):
        key = item.get("valueFrom", {}).get("secretKeyRef")
        blocks.append(
            _secret(item["name"], key["name"], key["key"], context)
            if key
            else _variable(item["name"], item["value"], context)
        )
    for kind, name in (("startupProbe", "startup_probe"), ("livenessProbe", "liveness_probe")):
        if probe := declared.take(*at, kind, default=None):
            blocks.append(_probe(name, probe))
    return Block("containers", (), attributes, (*blocks, *_mounts(connections)))


def _image(image: str) -> Value:
    return Expression("var.image") if image == IMAGE else image


def _variable(name: str, text: str, context: Context) -> Block:
    return Block("env", (), {"name": name, "value": context.text(text)})


def _secret(name: str, secret: str, version: str, context: Context) -> Block:
    key: dict[str, Value] = {"secret": context.of("secret", secret).secret_id, "version": version}
    source = Block("value_source", (), {}, (Block("secret_key_ref", (), key),))
    return Block("env", (), {"name": name}, (source,))


def _probe(name: str, probe: Mapping[str, Any]) -> Block:
    numbers: dict[str, Value] = {
        "period_seconds": int(probe["periodSeconds"]),
        "timeout_seconds": int(probe["timeoutSeconds"]),
        "failure_threshold": int(probe["failureThreshold"]),
    }
    return Block(name, (), numbers, (Block("http_get", (), dict(probe["httpGet"])),))


def _mounts(connections: Sequence[Block]) -> tuple[Block, ...]:
    if not any(block.type == "volumes" for block in connections):
        return ()
    return (Block("volume_mounts", (), {"name": _CLOUD_SQL, "mount_path": "/cloudsql"}),)
