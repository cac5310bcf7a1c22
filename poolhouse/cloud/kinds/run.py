"""Cloud Run: the API's service, the workers' pools or jobs, the dead-letter job."""

from __future__ import annotations

from collections.abc import Callable

from poolhouse.cloud.gcloud.release_tracks import ReleaseTracks
from poolhouse.cloud.kinds import connections, containers, secrets
from poolhouse.cloud.kinds.containers import Container
from poolhouse.cloud.options import Options
from poolhouse.cloud.resource import IMAGE, Command, Fields, Json, Read, Resource, command, flag, pairs
from poolhouse.pipeline.config.queue import Queue
from poolhouse.pipeline.config.topology import Topology

#: Longest time of one execution of a job, in seconds: its budget and the longest task that it still finishes.
JOB_TIMEOUT_S = 3600 * 4
API = "run.googleapis.com"
_MIN_SCALE, _MAX_SCALE = "autoscaling.knative.dev/minScale", "autoscaling.knative.dev/maxScale"
_INGRESS, _THROTTLING = "run.googleapis.com/ingress", "run.googleapis.com/cpu-throttling"
_OPEN = "run.googleapis.com/invoker-iam-disabled"
#: Longest time of a request, in seconds: Cloud Run's default. An event stream ends with it and is opened again.
REQUEST_TIMEOUT_S = 300
#: All traffic goes to the newest revision.
LATEST = "newest revision"
_MANUAL = "run.googleapis.com/manualInstanceCount"


def service(topology: Topology, *, image: str, options: Options) -> Resource:
    """The API's service."""
    name = options.api_service
    container = Container(
        env=containers.environment(options, topology.env, BACKLOG_SOURCE="monitoring"),
        secrets=secrets.references(topology.secrets, options),
        account=options.account("api"),
        cpu=options.api.cpu,
        memory_mib=options.api.memory_mib,
        connections=connections.connections(options),
    )
    probe = {"httpGet.path": "/health", "periodSeconds": "5", "timeoutSeconds": "4", "failureThreshold": "24"}
    wanted: Fields = {
        **container.wanted(image),
        "concurrency": options.api.concurrency,
        "min_instances": options.api.min_instances,
        "max_instances": options.api.max_instances,
        "startup_probe": "/health",
        "timeout_s": REQUEST_TIMEOUT_S,
        "cpu_throttling": True,
        "ingress": "all",
        "invoker_check": not options.public,
        "traffic": LATEST,
        **containers.label_fields(options),
    }
    arguments = (
        "run",
        "deploy",
        name,
        flag("region", options.region),
        flag("image", IMAGE),
        *container.flags(),
        flag("concurrency", options.api.concurrency),
        flag("min-instances", options.api.min_instances),
        flag("max-instances", options.api.max_instances),
        flag("startup-probe", pairs(probe)),
        flag("labels", pairs(options.labels)),
        flag("timeout", f"{REQUEST_TIMEOUT_S}s"),
        "--cpu-throttling",
        "--ingress=all",
        # Not by a grant to allUsers, which domain restricted sharing forbids (Cloud Run, Allowing public access).
        "--no-invoker-iam-check" if options.public else "--invoker-iam-check",
        "--no-allow-unauthenticated",
    )

    def observe(raw: Json) -> Fields | None:
        there = containers.named(raw, name)
        if there is None:
            return None
        template = there["spec"]["template"]
        notes = template.get("metadata", {}).get("annotations", {})
        outer = there["metadata"].get("annotations", {})
        found = template["spec"]["containers"][0]
        return {
            **containers.observed_fields(found, template["spec"]),
            **connections.observed(template, options),
            "concurrency": template["spec"].get("containerConcurrency"),
            "min_instances": int(notes.get(_MIN_SCALE, 0)),
            "max_instances": int(notes.get(_MAX_SCALE, 0)),
            "startup_probe": found.get("startupProbe", {}).get("httpGet", {}).get("path"),
            "timeout_s": template["spec"].get("timeoutSeconds", REQUEST_TIMEOUT_S),
            "cpu_throttling": notes.get(_THROTTLING, "true").lower() == "true",
            "ingress": outer.get(_INGRESS, "all"),
            "invoker_check": outer.get(_OPEN, "false").lower() != "true",
            "traffic": traffic(there),
            **containers.observed_labels(there, options),
        }

    where = flag("region", options.region)

    def update(raw: Json) -> tuple[Command, ...]:
        # A deploy leaves pinned traffic where it is: the new revision would get none.
        there = containers.named(raw, name)
        pinned = there is not None and traffic(there) != LATEST
        back = command("run", "services", "update-traffic", name, where, "--to-latest")
        removals = container.connections.removals(observe(raw))
        return (command(*arguments, *removals), *((back,) if pinned else ()))

    return _resource(
        "service",
        name,
        wanted=wanted,
        observe=observe,
        arguments=arguments,
        options=options,
        account="api",
        read=services_read(options),
        update=update,
        after=(
            f"grants/bucket/{options.bucket}",
            *(f"grants/topic/{tier.topic}" for queue in topology.queues for tier in queue.tiers),
            *secrets.granted(topology.secrets, options),
            *connections.granted(options),
        ),
    )


def traffic(raw: Json) -> str:
    """Where a service's requests go, for a person: `LATEST`, or the share of each revision."""
    shares = [part for part in raw["spec"].get("traffic", ()) if part.get("percent")]
    if all(part.get("latestRevision") for part in shares):
        return LATEST
    return ", ".join(f"{part['percent']}% {part.get('revisionName', LATEST)}" for part in shares)


def pool(queue: Queue, *, topology: Topology, image: str, options: Options, tracks: ReleaseTracks) -> Resource:
    """The worker pool of a queue.

    Without an autoscaler its size is fixed: the least instances, but one, since a pool of none would never work.
    With one, the number is the autoscaler's business: it is set once, and then neither compared nor sent.
    """
    name = queue.topic
    size = queue.workers
    container = _worker(queue, ("run",), topology=topology, options=options)
    fixed = {} if options.autoscale else {"instances": max(1, size.min_instances)}
    wanted: Fields = {
        **container.wanted(image),
        **fixed,
        **containers.label_fields(options),
    }
    arguments = (
        *tracks.worker_pools,
        "deploy",
        name,
        flag("region", options.region),
        flag("image", IMAGE),
        *container.flags(),
        flag("labels", pairs(options.labels)),
    )
    scaled = (*arguments, flag(tracks.instances_flag, fixed.get("instances", size.min_instances)))

    def observe(raw: Json) -> Fields | None:
        found = containers.named(raw, name)
        if found is None:
            return None
        template = found["spec"]["template"]
        count = found["metadata"].get("annotations", {}).get(_MANUAL)
        return {
            **containers.observed_fields(template["spec"]["containers"][0], template["spec"]),
            **connections.observed(template, options),
            **({"instances": int(count) if count is not None else None} if fixed else {}),
            **containers.observed_labels(found, options),
        }

    return _resource(
        "pool",
        name,
        wanted=wanted,
        observe=observe,
        arguments=scaled,
        options=options,
        account="worker",
        read=pools_read(options, tracks),
        update=lambda raw: (command(*(scaled if fixed else arguments), *container.connections.removals(observe(raw))),),
        after=(
            *_granted(options, *(tier.subscription for tier in queue.tiers)),
            *secrets.granted(topology.secrets_of(queue), options),
        ),
    )


def drain_job(queue: Queue, *, topology: Topology, image: str, options: Options) -> Resource:
    """The job that works a queue off: started at intervals, ended when the queue is empty or its budget is spent.

    A run that is busy goes on while the next one starts; the budget is chosen so that at most `max_instances` of them
    are at work at the same time.
    """
    budget_s = queue.workers.max_instances * options.job_minutes * 60
    budget = f"--budget={min(budget_s, JOB_TIMEOUT_S // 2)}"
    return _job(
        queue.topic,
        _worker(queue, ("drain", budget), topology=topology, options=options),
        image=image,
        options=options,
        account="worker",
        after=(
            *_granted(options, *(tier.subscription for tier in queue.tiers)),
            *secrets.granted(topology.secrets_of(queue), options),
        ),
    )


def dead_letter_job(topology: Topology, *, image: str, options: Options) -> Resource:
    """The job that keeps dead letters in the bucket. It runs no handler, but the hooks, and has their secrets."""
    found = topology.secrets_of_hooks
    container = Container(
        env=containers.environment(options, topology.env),
        secrets=secrets.references(found, options),
        account=options.account("dead-letters"),
        cpu=1,
        memory_mib=512,
        arguments=("-m", "poolhouse.worker", "dead-letters", "--drain", "--budget=600"),
        connections=connections.connections(options, cloud_sql=bool(topology.hooks)),
    )
    return _job(
        f"{options.name}-dead-letters",
        container,
        image=image,
        options=options,
        account="dead-letters",
        after=(
            *_granted(options, *(queue.dead_letter_subscription for queue in topology.queues)),
            *secrets.granted(found, options),
        ),
    )


def _worker(queue: Queue, arguments: tuple[str, ...], *, topology: Topology, options: Options) -> Container:
    verb, *more = arguments
    return Container(
        env=containers.environment(options, topology.env_of(queue)),
        secrets=secrets.references(topology.secrets_of(queue), options),
        account=options.account("worker"),
        cpu=queue.workers.cpu,
        memory_mib=queue.workers.memory_mib,
        arguments=("-m", "poolhouse.worker", verb, f"--queue={queue.name}", *more),
        connections=connections.connections(options),
    )


def services_read(options: Options) -> Read:
    """How services are listed."""
    return Read(arguments=("run", "services", "list", flag("region", options.region)), api=API)


def pools_read(options: Options, tracks: ReleaseTracks) -> Read:
    """How worker pools are listed."""
    return Read(arguments=(*tracks.worker_pools, "list", flag("region", options.region)), api=API)


def jobs_read(options: Options) -> Read:
    """How jobs are listed."""
    return Read(arguments=("run", "jobs", "list", flag("region", options.region)), api=API)


def _granted(options: Options, *subscriptions: str) -> tuple[str, ...]:
    """What a worker needs before it starts: one that finds a bucket or subscription closed to it dies at once."""
    return (
        f"grants/bucket/{options.bucket}",
        *(f"grants/subscription/{name}" for name in subscriptions),
        *connections.granted(options),
    )


def _job(
    name: str, container: Container, *, image: str, options: Options, account: str, after: tuple[str, ...]
) -> Resource:
    wanted: Fields = {
        **container.wanted(image),
        "tasks": 1,
        "retries": 0,
        "timeout_s": JOB_TIMEOUT_S,
        **containers.label_fields(options),
    }
    arguments = (
        "run",
        "jobs",
        "deploy",
        name,
        flag("region", options.region),
        flag("image", IMAGE),
        *container.flags(),
        "--tasks=1",
        # Pub/Sub delivers again what a run did not finish: a retry of the run would only count twice.
        "--max-retries=0",
        flag("task-timeout", f"{JOB_TIMEOUT_S}s"),
        flag("labels", pairs(options.labels)),
    )

    def observe(raw: Json) -> Fields | None:
        found = containers.named(raw, name)
        if found is None:
            return None
        execution = found["spec"]["template"]["spec"]
        task = execution["template"]["spec"]
        return {
            **containers.observed_fields(task["containers"][0], task),
            **connections.observed(found["spec"]["template"], options),
            "tasks": int(execution.get("taskCount", 1)),
            "retries": int(task.get("maxRetries", 3)),
            "timeout_s": int(task.get("timeoutSeconds", 600)),
            **containers.observed_labels(found, options),
        }

    def update(raw: Json) -> tuple[Command, ...]:
        # This command has no flag that clears them: an empty list does.
        removals = container.connections.removals(observe(raw), cloud_sql="--set-cloudsql-instances=")
        return (command(*arguments, *removals),)

    return _resource(
        "job",
        name,
        wanted=wanted,
        observe=observe,
        arguments=arguments,
        options=options,
        account=account,
        read=jobs_read(options),
        update=update,
        after=after,
    )


def _resource(
    kind: str,
    name: str,
    *,
    wanted: Fields,
    observe: Callable[[Json], Fields | None],
    arguments: tuple[str, ...],
    options: Options,
    account: str,
    read: Read,
    update: Callable[[Json], tuple[Command, ...]],
    after: tuple[str, ...] = (),
) -> Resource:
    return Resource(
        kind=kind,
        name=name,
        wanted=wanted,
        read=read,
        observe=observe,
        create=(command(*arguments),),
        update=update,
        after=("image", f"account/{options.account_id(account)}", *after),
    )
