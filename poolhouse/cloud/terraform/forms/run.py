"""Services, worker pools and jobs of Cloud Run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from poolhouse.cloud.resource import IMAGE, Resource
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
        **_head(item, flags),
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
    instances = int(flags.optional("instances") or flags.text("scaling"))
    scaling: dict[str, Value] = {"scaling_mode": "MANUAL", "manual_instance_count": instances}
    template: dict[str, Value] = {"service_account": context.account(flags.text("service-account"))}
    connections = _connections(flags)
    blocks = [
        Block("scaling", (), scaling),
        Block("template", (), template, (_container(flags, context, connections), *connections)),
    ]
    if "instances" not in item.wanted:
        blocks.append(Block("lifecycle", (), {"ignore_changes": [Expression("scaling")]}))
    address = context.of("pool", item.name)
    yield Piece(resource(address, _head(item, flags), *blocks), imported(context.regional("workerPools", item.name)))


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
    yield Piece(resource(address, _head(item, flags), template), imported(context.regional("jobs", item.name)))


def _head(item: Resource, flags: Flags) -> Mapping[str, Value]:
    flags.text("region")
    return {
        "name": item.name,
        "location": Expression("local.region"),
        "deletion_protection": Expression("var.deletion_protection"),
        "labels": flags.pairs("labels"),
    }


def _connections(flags: Flags) -> tuple[Block, ...]:
    """The blocks that connect to a network and to Cloud SQL."""
    blocks = []
    if network := flags.optional("network"):
        tags = flags.optional("network-tags")
        interface: dict[str, Value] = {
            "network": network,
            "subnetwork": flags.text("subnet"),
            "tags": tags.split(",") if tags else None,
        }
        egress = flags.text("vpc-egress").replace("-", "_").upper()
        blocks.append(Block("vpc_access", (), {"egress": egress}, (Block("network_interfaces", (), interface),)))
    if instances := flags.optional("set-cloudsql-instances"):
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
    image, command, arguments = flags.text("image"), flags.optional("command"), flags.optional("args")
    attributes: dict[str, Value] = {
        "image": Expression("var.image") if image == IMAGE else image,
        "base_image_uri": flags.optional("base-image") or None,
        "command": [command] if command else None,
        "args": arguments.split(",") if arguments else None,
    }
    cpu, memory = flags.optional("cpu"), flags.optional("memory")
    limits = {"cpu": cpu, "memory": memory} if cpu else None
    blocks = [Block("resources", (), {"limits": limits, "cpu_idle": idle})] if cpu or idle is not None else []
    for name, text in flags.pairs("set-env-vars").items():
        blocks.append(Block("env", (), {"name": name, "value": context.text(text)}))
    for name, reference in flags.pairs("set-secrets").items():
        secret, _, version = reference.rpartition(":")
        key: dict[str, Value] = {"secret": context.of("secret", secret).secret_id, "version": version}
        source = Block("value_source", (), {}, (Block("secret_key_ref", (), key),))
        blocks.append(Block("env", (), {"name": name}, (source,)))
    if probe := flags.pairs("startup-probe"):
        numbers: dict[str, Value] = {
            "period_seconds": int(probe["periodSeconds"]),
            "timeout_seconds": int(probe["timeoutSeconds"]),
            "failure_threshold": int(probe["failureThreshold"]),
        }
        path = Block("http_get", (), {"path": probe["httpGet.path"]})
        blocks.append(Block("startup_probe", (), numbers, (path,)))
    if any(block.type == "volumes" for block in connections):
        blocks.append(Block("volume_mounts", (), {"name": _CLOUD_SQL, "mount_path": "/cloudsql"}))
    return Block("containers", (), attributes, tuple(blocks))
