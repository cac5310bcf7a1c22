"""APIs, service accounts, agents, the repository of images, secrets, and the autoscaler's configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from poolhouse.cloud.resource import Json, Resource
from poolhouse.cloud.terraform.flags import Flags
from poolhouse.cloud.terraform.form import Context, Piece, imported, resource
from poolhouse.cloud.terraform.hcl import Block, Call, Expression, Value

_EACH = Expression("each.value")
#: Services that make an agent only when they are asked: by the agent's name in the plan.
_ASKED = {"pubsub": "pubsub.googleapis.com", "iap": "iap.googleapis.com"}


def apis(item: Resource, flags: Flags, context: Context) -> Iterator[Piece]:
    """The APIs; they stay on when the configuration is destroyed, since others may use them."""
    names = item.wanted["enabled"]
    assert isinstance(names, tuple)
    address = context.of("apis", item.name)

    def enabled(raw: Json) -> Mapping[str, str]:
        there = (item.observe(raw) or {}).get("enabled") or ()
        assert isinstance(there, tuple)
        return {f'["{name}"]': f"{context.options.project}/{name}" for name in there}

    yield Piece(
        resource(
            address, {"for_each": Call("toset", names), "service": _EACH, "disable_on_destroy": False},
        ),
        enabled,
    )  # fmt: skip


def account(item: Resource, flags: Flags, context: Context) -> Iterator[Piece]:
    """A service account; one that pipeline.toml names is looked up, so that a missing one ends the plan."""
    address = context.of("account", item.name)
    if item.absent:
        yield Piece(Block("data", tuple(address.text.split(".")[1:]), {"account_id": item.name}))
        return
    attributes: dict[str, Value] = {
        "account_id": item.name,
        "display_name": flags.text("display-name"),
        "description": flags.text("description"),
    }
    yield Piece(resource(address, attributes), imported(context.account_path(item.name)))


def agent(item: Resource, flags: Flags, context: Context) -> Iterator[Piece]:
    """A service agent: Pub/Sub's and the proxy's are asked for, Cloud Storage's comes with reading it."""
    address = context.of("agent", item.name)
    if item.name in _ASKED:
        attributes: dict[str, Value] = {"provider": Expression("google-beta"), "service": flags.text("service")}
        yield Piece(resource(address, attributes))
    else:
        yield Piece(Block("data", tuple(address.text.split(".")[1:])))


def repository(item: Resource, flags: Flags, context: Context) -> Iterator[Piece]:
    """The repository of images."""
    flags.text("location")
    attributes: dict[str, Value] = {
        "repository_id": item.name,
        "location": Expression("local.region"),
        "format": flags.text("repository-format").upper(),
        "description": flags.text("description"),
        "labels": flags.pairs("labels"),
        "cleanup_policy_dry_run": flags.switch("dry-run"),
    }
    policies = []
    for policy in flags.json("policy"):
        keep, delete = policy.get("mostRecentVersions"), policy.get("condition")
        inner = [Block("most_recent_versions", (), {"keep_count": keep["keepCount"]})] if keep else []
        if delete:
            days = int(delete["olderThan"].removesuffix("d"))
            condition: dict[str, Value] = {"tag_state": delete["tagState"].upper(), "older_than": f"{days * 86400}s"}
            inner.append(Block("condition", (), condition))
        head: dict[str, Value] = {"id": policy["name"], "action": policy["action"]["type"].upper()}
        policies.append(Block("cleanup_policies", (), head, tuple(inner)))
    address = context.of("repository", item.name)
    yield Piece(resource(address, attributes, *policies), imported(context.regional("repositories", item.name)))


def secret(item: Resource, flags: Flags, context: Context) -> Iterator[Piece]:
    """A secret, which a person sets: looked up, so that a missing one ends the plan, and no value is in the state."""
    address = context.of("secret", item.name)
    yield Piece(Block("data", tuple(address.text.split(".")[1:]), {"secret_id": item.name}))


def parameter(item: Resource, flags: Flags, context: Context) -> Iterator[Piece]:
    """What holds the autoscaler's configuration."""
    flags.text("location")
    attributes: dict[str, Value] = {
        "parameter_id": item.name,
        "format": flags.text("parameter-format").upper(),
        "labels": flags.pairs("labels"),
    }
    address = context.of("parameter", item.name)
    yield Piece(resource(address, attributes), imported(context.path("locations", "global", "parameters", item.name)))


def parameter_version(item: Resource, flags: Flags, context: Context) -> Iterator[Piece]:
    """The configuration itself."""
    flags.text("location")
    holder = flags.text("parameter")
    attributes: dict[str, Value] = {
        "parameter": context.of("parameter", holder).id,
        "parameter_version_id": item.name,
        "parameter_data": flags.file("payload-data-from-file"),
    }
    path = context.path("locations", "global", "parameters", holder, "versions", item.name)
    yield Piece(resource(context.of("parameter-version", item.name), attributes), imported(path))
