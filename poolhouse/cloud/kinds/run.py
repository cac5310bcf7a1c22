"""Cloud Run: the API's service, the workers' jobs, the dead-letter job; and what pools have in common with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from poolhouse.cloud.kinds import connections, containers, secrets, serving, shares
from poolhouse.cloud.kinds.containers import Container
from poolhouse.cloud.kinds.serving import CHECKED, UNCHECKED, Serving
from poolhouse.cloud.kinds.shares import Canary, Division
from poolhouse.cloud.options import Options
from poolhouse.cloud.resource import IMAGE, Command, Fields, Json, Read, Resource, command, flag, pairs
from poolhouse.pipeline.config.queue import Queue
from poolhouse.pipeline.config.topology import Topology

#: Longest time of one execution of a job, in seconds: its budget and the longest task that it still finishes.
JOB_TIMEOUT_S = 3600 * 4
#: Size of the job that keeps dead letters.
DEAD_LETTER_CPU, DEAD_LETTER_MEMORY_MIB = 1, 512
#: After how many seconds a worker that is stuck ends itself in order, so that Cloud Run starts another. `[env]` can say
#: otherwise.
WATCHDOG_S = "60"
API = "run.googleapis.com"
#: What leaves a new revision of the service without requests.
_HOLD = "--no-traffic"


def service(
    topology: Topology, *, image: str, options: Options, project_number: str, canary: Canary | None = None
) -> Resource:
    """The API's service; `canary`: the share of its requests that a new revision gets (None: all)."""
    name = options.api_service
    division = service_division(options, canary=canary)
    container = Container(
        env=containers.environment(
            options, topology.env, BACKLOG_SOURCE="monitoring", **_access(options, project_number)
        ),
        secrets=secrets.references(topology.secrets, options),
        account=options.account("api"),
        cpu=options.api.cpu,
        memory_mib=options.api.memory_mib,
        connections=connections.connections(options),
    )
    takes = Serving(
        concurrency=options.api.concurrency,
        min_instances=options.api.min_instances,
        max_instances=options.api.max_instances,
        checked=not options.public,
    )
    wanted: Fields = {
        **container.wanted(image),
        **takes.wanted(),
        division.field: division.wanted,
        **containers.label_fields(options),
    }
    arguments = (
        "run",
        "deploy",
        name,
        flag("region", options.region),
        flag("image", IMAGE),
        *container.flags(),
        flag("labels", pairs(options.labels)),
        *takes.flags(),
    )

    def observe(raw: Json) -> Fields | None:
        there = containers.named(raw, name)
        if there is None:
            return None
        template = there["spec"]["template"]
        return {
            **containers.observed_fields(template["spec"]["containers"][0], template["spec"]),
            **connections.observed(template, options),
            **serving.observed(there),
            division.field: shares.of(there).text,
            **containers.observed_labels(there, options),
        }

    def update(raw: Json) -> tuple[Command, ...]:
        present = observe(raw)
        sent = (*arguments, *container.connections.removals(present))
        if options.access is None or present is None or not present["invoker_check"]:
            return division.update(sent, hold=_HOLD, wanted=wanted, present=present)
        # Cloud Run's check is the service's, the API's own that of a revision: the first one goes when all requests
        # reach a revision that has the other. With a canary that is a later deploy's.
        checked = tuple(CHECKED if word == UNCHECKED else word for word in sent)
        deploys = division.update(checked, hold=_HOLD, wanted=wanted, present=present)
        opens = command("run", "services", "update", name, flag("region", options.region), UNCHECKED)
        return (*deploys, *(() if canary else (opens,)))

    return resource(
        "service",
        name,
        wanted=wanted,
        observe=observe,
        create=command(*arguments),
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


def service_division(options: Options, *, canary: Canary | None = None) -> Division:
    """How the API's requests are divided between revisions."""
    divide = ("run", "services", "update-traffic", options.api_service, flag("region", options.region))
    return Division(divide=divide, field="traffic", canary=canary)


def drain_job(queue: Queue, *, topology: Topology, image: str, options: Options) -> Resource:
    """The job that works a queue off: started at intervals, ended when the queue is empty or its budget is spent.

    A run that is busy goes on while the next one starts; the budget is chosen so that at most `max_instances` of them
    are at work at the same time.
    """
    budget_s = queue.workers.max_instances * options.job_minutes * 60
    budget = f"--budget={min(budget_s, JOB_TIMEOUT_S // 2)}"
    return _job(
        queue.topic,
        worker(queue, ("drain", budget), topology=topology, options=options),
        image=image,
        options=options,
        account="worker",
        after=(
            *granted(options, *(tier.subscription for tier in queue.tiers)),
            *secrets.granted(topology.secrets_of(queue), options),
        ),
    )


def dead_letter_job(topology: Topology, *, image: str, options: Options) -> Resource:
    """The job that keeps dead letters in the bucket. It runs no handler, but the hooks, and has their secrets."""
    found = topology.secrets_of_hooks
    container = Container(
        env=containers.environment(options, topology.env, WORKER_WATCHDOG_S=WATCHDOG_S),
        secrets=secrets.references(found, options),
        account=options.account("dead-letters"),
        cpu=DEAD_LETTER_CPU,
        memory_mib=DEAD_LETTER_MEMORY_MIB,
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
            *granted(options, *(queue.dead_letter_subscription for queue in topology.queues)),
            *secrets.granted(found, options),
        ),
    )


def worker(queue: Queue, arguments: tuple[str, ...], *, topology: Topology, options: Options, **env: str) -> Container:
    """The container of a queue's workers, with more variables, which pipeline.toml can change."""
    verb, *more = arguments
    return Container(
        env=containers.environment(options, topology.env_of(queue), WORKER_WATCHDOG_S=WATCHDOG_S, **env),
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


def revisions_read(options: Options) -> Read:
    """How the revisions of the API's service are listed."""
    where = (flag("service", options.api_service), flag("region", options.region))
    return Read(arguments=("run", "revisions", "list", *where), api=API)


def jobs_read(options: Options) -> Read:
    """How jobs are listed."""
    return Read(arguments=("run", "jobs", "list", flag("region", options.region)), api=API)


def granted(options: Options, *subscriptions: str) -> tuple[str, ...]:
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

    return resource(
        "job",
        name,
        wanted=wanted,
        observe=observe,
        create=command(*arguments),
        options=options,
        account=account,
        read=jobs_read(options),
        update=update,
        after=after,
    )


def resource(
    kind: str,
    name: str,
    *,
    wanted: Fields,
    observe: Callable[[Json], Fields | None],
    create: Command,
    options: Options,
    account: str,
    read: Read,
    update: Callable[[Json], tuple[Command, ...]],
    after: tuple[str, ...] = (),
) -> Resource:
    """A service, pool or job, which comes after its image and its account; else as `Resource`.

    Args:
        kind: the word for it in the plan.
        name: its name.
        wanted: the fields to compare.
        observe: the same fields out of what `read` printed.
        create: the command that makes it.
        options: the choices of the deploy.
        account: what the account that it runs as is for.
        read: how its state is read.
        update: the commands that make it as wanted.
        after: ids of what must be in place first, beside image and account.
    """
    return Resource(
        kind=kind,
        name=name,
        wanted=wanted,
        read=read,
        observe=observe,
        create=(create,),
        update=update,
        after=("image", f"account/{options.account_name(account)}", *after),
    )


def _access(options: Options, project_number: str) -> Mapping[str, str]:
    """The variable by which the API checks its callers, the deployment's own accounts too; none where it does not."""
    if options.access is None:
        return {}
    ours = {
        "scheduler": options.account("scheduler"),
        "console": options.account("console") if options.console else "",
        "audience": options.api_url(project_number),
    }
    return {"API_ACCESS": options.access.model_copy(update=ours).model_dump_json(exclude_defaults=True)}
