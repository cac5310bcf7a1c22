"""Notifications of Cloud Storage to the queues: new objects that triggers take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from poolhouse.cloud.options import Options
from poolhouse.cloud.resource import Command, Fields, Json, Leftover, LeftoverQuery, Read, Resource, command, flag
from poolhouse.pipeline.config.topology import Topology
from poolhouse.pipeline.messaging.object_events import FINALIZED, prefixes

_GROUP = ("storage", "buckets", "notifications")


def agent(project_number: str) -> str:
    """The account that Cloud Storage publishes with, as policies write it."""
    return f"serviceAccount:service-{project_number}@gs-project-accounts.iam.gserviceaccount.com"


def storage_agent(member: str, topic: str, *, options: Options) -> Resource:
    """That account: in a fresh project it is not there until asked for; asking again changes nothing.

    Args:
        member: as `agent` gives it.
        topic: one whose policy names it once a deploy has finished, which is the only sign of it.
        options: the choices of the deploy.
    """

    def observe(raw: Json) -> Fields | None:
        named = any(member in binding.get("members", ()) for binding in (raw or {}).get("bindings", ()))
        return {"member": member} if named else None

    return Resource(
        kind="agent",
        name="storage",
        wanted={"member": member},
        read=Read(
            arguments=("pubsub", "topics", "get-iam-policy", topic), api="pubsub.googleapis.com", needs=f"topic/{topic}"
        ),
        observe=observe,
        create=(command("storage", "service-agent"),),
        after=(f"apis/{options.project}",),
    )


def notifications(topology: Topology, *, options: Options) -> Resource:
    """The events that the bucket sends to the queues' topics; those sent elsewhere are left alone."""
    wanted = tuple(
        sorted(f"{prefix} to {topology.by_name[queue].topic}" for queue, prefix in _pairs(prefixes(topology)))
    )

    def make(notified: str) -> Command:
        prefix, _, topic = notified.rpartition(" to ")
        # Grants and topic are this plan's own business.
        return command(
            *_GROUP, "create", f"gs://{options.bucket}", flag("topic", topic), flag("event-types", FINALIZED),
            flag("object-prefix", prefix), flag("payload-format", "none"), "--skip-topic-setup",
        )  # fmt: skip

    def update(raw: Json) -> tuple[Command, ...]:
        found = configured(raw, options)
        stale = [command(*_GROUP, "delete", name) for notified, name in found.items() if notified not in wanted]
        return (*(make(notified) for notified in wanted if notified not in found), *stale)

    return Resource(
        kind="notifications",
        name=options.bucket,
        wanted={"objects": wanted},
        read=_read(options),
        # A bucket without any is as good as one that is still to be made.
        observe=lambda raw: {"objects": tuple(sorted(configured(raw, options)))},
        create=(),
        update=update,
        after=(
            f"bucket/{options.bucket}",
            *(f"grants/topic/{topology.by_name[queue].topic}" for queue in prefixes(topology)),
        ),
    )


def left_over(options: Options) -> LeftoverQuery:
    """The events that are still sent where pipeline.toml has no trigger any more; a worker makes nothing of them."""

    def find(raw: Json) -> tuple[Leftover, ...]:
        names = configured(raw, options).values()
        delete = tuple(command(*_GROUP, "delete", name) for name in names)
        return (Leftover(kind="notifications", name=options.bucket, delete=delete),) if delete else ()

    return LeftoverQuery(kind="notifications", read=_read(options), find=find)


def _read(options: Options) -> Read:
    return Read(
        arguments=(*_GROUP, "list", f"gs://{options.bucket}"),
        api="storage.googleapis.com",
        needs=f"bucket/{options.bucket}",
    )


def configured(raw: Json, options: Options) -> Mapping[str, str]:
    """Names of the configurations that send to a topic of this pipeline, by what they send."""
    found: dict[str, str] = {}
    for entry in raw or ():
        item = entry.get("Notification Configuration", entry)  # gcloud wraps each in a title
        topic = str(item.get("topic", "")).rpartition("/")[2]
        if topic.startswith(f"{options.name}-"):
            notified = f"{item.get('object_name_prefix', '')} to {topic}"
            as_made = item.get("event_types") == [FINALIZED] and notified not in found
            name = f"projects/_/buckets/{options.bucket}/notificationConfigs/{item['id']}"
            found[notified if as_made else f"{notified} ({item['id']})"] = name
    return found


def _pairs(by_queue: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, str]]:
    for queue, found in by_queue.items():
        yield from ((queue, prefix) for prefix in found)
