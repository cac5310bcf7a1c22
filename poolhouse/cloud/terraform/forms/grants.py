"""Who may do what on one resource: a block for each role, an instance of it for each member.

Not a policy or a binding, which would take away what others have granted on the same resource.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from poolhouse.cloud.resource import Json, Resource
from poolhouse.cloud.terraform.flags import Flags
from poolhouse.cloud.terraform.form import Context, Piece, label, resource
from poolhouse.cloud.terraform.hcl import Expression, Value

_REGION = Expression("local.region")
_AGENTS = {"gcp-sa-pubsub": "pubsub", "gcp-sa-iap": "iap", "gs-project-accounts": "storage"}
#: By the kind of what is granted on: type of the block, arguments that name it, and its path for an import.
_TARGETS: Mapping[
    str, tuple[str, Callable[[Expression], Mapping[str, Value]], Callable[[Context, str], str]]
] = {
    "bucket": ("storage_bucket", lambda at: {"bucket": at.name}, lambda context, name: f"b/{name}"),
    "repository": (
        "artifact_registry_repository",
        lambda at: {"location": _REGION, "repository": at.name},
        lambda context, name: context.regional("repositories", name),
    ),
    "topic": ("pubsub_topic", lambda at: {"topic": at.id}, lambda context, name: context.path("topics", name)),
    "subscription": (
        "pubsub_subscription",
        lambda at: {"subscription": at.id},
        lambda context, name: context.path("subscriptions", name),
    ),
    "service": (
        "cloud_run_v2_service",
        lambda at: {"location": _REGION, "name": at.name},
        lambda context, name: context.regional("services", name),
    ),
    "job": (
        "cloud_run_v2_job",
        lambda at: {"location": _REGION, "name": at.name},
        lambda context, name: context.regional("jobs", name),
    ),
    "pool": (
        "cloud_run_v2_worker_pool",
        lambda at: {"location": _REGION, "name": at.name},
        lambda context, name: context.regional("workerPools", name),
    ),
    "account": (
        "service_account",
        lambda at: {"service_account_id": at.name},
        lambda context, name: context.account_path(name),
    ),
    "secret": (
        "secret_manager_secret",
        lambda at: {"secret_id": at.id},
        lambda context, name: context.path("secrets", name),
    ),
    "iap": (
        "iap_web_cloud_run_service",
        lambda at: {"location": _REGION, "cloud_run_service_name": at.name},
        lambda context, name: context.path("iap_web", f"cloud_run-{context.options.region}", "services", name),
    ),
    "project": ("project", lambda at: {"project": Expression("local.project")}, lambda context, name: name),
}  # fmt: skip


#: Kinds that have the names of others.
_NAMED_AFTER = {"iap": "service"}


def grants(item: Resource, flags: Flags, context: Context) -> Iterator[Piece]:
    """The bindings on one resource: what they are is in the fields that a plan compares."""
    flags.ignore("member", "role", "condition", "location", "region", "resource-type", "service")
    kind, _, name = item.name.partition("/")
    type_, named, path = _TARGETS[kind]
    target = Expression("local") if kind == "project" else context.of(_NAMED_AFTER.get(kind, kind), name)
    for role, members in item.wanted.items():
        assert isinstance(members, tuple)
        if not members:
            continue
        keys = {member: _key(member, context) for member in members}
        attributes: dict[str, Value] = {
            "for_each": {key: _member(member, context) for member, key in keys.items()},
            **named(target),
            "role": role,
            "member": Expression("each.value"),
        }

        def made(raw: Json, role: str = role, keys: Mapping[str, str] = keys) -> Mapping[str, str]:
            there = (item.observe(raw) or {}).get(role) or ()
            assert isinstance(there, tuple)
            at = path(context, name)
            return {f'["{key}"]': f"{at} {role} {member}" for member, key in keys.items() if member in there}

        own = target.text.rpartition(".")[2] if kind != "project" else "project"
        address = Expression(f"google_{type_}_iam_member.{own}_{label(role.rpartition('/')[2])}")
        yield Piece(resource(address, attributes), made)


def _key(member: str, context: Context) -> str:
    agent = _agent(member)
    if agent:
        return f"{agent}-agent"
    if not _is_account(member, context):
        return member
    email = member.partition(":")[2]
    return email if context.is_own(email) else email.partition("@")[0].removeprefix(f"{context.options.identity}-")


def _member(member: str, context: Context) -> Value:
    agent = _agent(member)
    if agent:
        return context.of("agent", agent).member
    return context.service_account(member.partition(":")[2]).member if _is_account(member, context) else member


def _is_account(member: str, context: Context) -> bool:
    """Whether a member is a service account of the deploy; others, and people, are written as they are."""
    kind, _, email = member.partition(":")
    id_ = email.partition("@")[0]
    made = f"account/{id_}" in context.addresses and email == f"{id_}@{context.options.project}.iam.gserviceaccount.com"
    return kind == "serviceAccount" and (made or context.is_own(email))


def _agent(member: str) -> str:
    return next((agent for part, agent in _AGENTS.items() if f"@{part}." in member), "")
