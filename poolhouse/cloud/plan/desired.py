"""Everything that a pipeline wants on Google Cloud: one pure function from pipeline.toml and options to resources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from poolhouse.cloud.gcloud.release_tracks import ReleaseTracks
from poolhouse.cloud.kinds import (
    autoscaler,
    console,
    monitoring,
    notifications,
    objectives,
    project,
    pubsub,
    registry,
    run,
    scheduler,
    secrets,
    storage,
    worker_pools,
)
from poolhouse.cloud.kinds.grants import Bindings, grants, project_grants
from poolhouse.cloud.kinds.shares import Canary
from poolhouse.cloud.options import Options
from poolhouse.cloud.resource import Resource, flag
from poolhouse.pipeline.config.topology import Topology
from poolhouse.pipeline.messaging.object_events import prefixes


def resources(
    topology: Topology,
    *,
    options: Options,
    tracks: ReleaseTracks,
    project_number: str,
    tag: str,
    image: str,
    bill: str = "",
    canaries: Mapping[str, Canary] | None = None,
) -> tuple[Resource, ...]:
    """The resources in an order that respects what they need.

    Args:
        topology: pipeline.toml.
        options: the choices of the deploy.
        tracks: the release tracks of the installed gcloud.
        project_number: number of the project: its service agents and URLs are named after it.
        tag: tag of the present sources' image.
        image: path and digest of that image where it is built; else what the plan shows instead.
        bill: the bill of materials of that image; empty: none is attached.
        canaries: the shares of new revisions, by the ids of the resources that do not change all at once.
    """
    agent = f"serviceAccount:service-{project_number}@gcp-sa-pubsub.iam.gserviceaccount.com"
    return (
        project.apis(options),
        *project.accounts(options),
        *_storage(topology, options),
        *_queues(topology, options, tracks, agent, project_number),
        project_grants(_on_project(topology, options, tracks), options=options),
        registry.image(tag, options=options),
        *((registry.bill(tag, bill, image=image, options=options),) if bill else ()),
        *_compute(topology, options, tracks, image, canaries or {}, project_number=project_number),
        *(scheduler.task(entry, options=options, project_number=project_number) for entry in topology.schedules),
        *monitoring.log_metrics(options),
        *objectives.log_metrics(options),
        *monitoring.channel(options=options, tracks=tracks),
        monitoring.dashboard(topology, options=options, charts=objectives.charts(options)),
        *monitoring.alerts(topology, options=options, tracks=tracks),
        *objectives.alerts(topology, options=options, tracks=tracks),
    )


def _storage(topology: Topology, options: Options) -> Iterator[Resource]:
    yield storage.bucket(topology, options=options)
    yield storage.build_bucket(options=options)
    yield registry.repository(options=options)
    objects = "roles/storage.objectUser"
    bindings: Bindings
    for name, bindings in (
        (
            options.bucket,
            {
                objects: tuple(options.member(purpose) for purpose in ("api", "worker", "dead-letters")),
                # `GET /ready` asks for the bucket itself, which no object role covers.
                "roles/storage.bucketViewer": (options.member("api"),),
            },
        ),
        (
            options.build_bucket,
            {
                objects: (options.member("builder"),),
                # Cloud Build looks at the bucket itself before it begins (Cloud Build, Store build logs).
                "roles/storage.legacyBucketReader": (options.member("builder"),),
            },
        ),
    ):
        yield grants(
            f"bucket/{name}", bindings, options=options, arguments=("storage", "buckets"), name=f"gs://{name}",
            api="storage", starts="filled",
        )  # fmt: skip
    yield grants(
        f"repository/{options.name}",
        {"roles/artifactregistry.writer": (options.member("builder"),)},
        options=options,
        arguments=("artifacts", "repositories"),
        name=options.name,
        api="artifactregistry",
        more=(flag("location", options.region),),
        starts="filled",
    )


def _queues(
    topology: Topology, options: Options, tracks: ReleaseTracks, agent: str, project_number: str
) -> Iterator[Resource]:
    api, worker, keeper = options.member("api"), options.member("worker"), options.member("dead-letters")
    publisher, subscriber, viewer = "roles/pubsub.publisher", "roles/pubsub.subscriber", "roles/pubsub.viewer"

    storage_agent = notifications.agent(project_number)
    agents = {agent: "agent/pubsub", storage_agent: "agent/storage"}

    def bind(kind: str, name: str, bindings: Bindings) -> Resource:
        return grants(
            f"{kind}/{name}", bindings, options=options, arguments=("pubsub", f"{kind}s"), name=name, api="pubsub",
            after=tuple(
                id for member, id in agents.items() if any(member in members for members in bindings.values())
            ),
        )  # fmt: skip

    if topology.triggers:
        yield notifications.storage_agent(storage_agent, topology.queue_of(topology.triggers[0]).topic, options=options)
        yield notifications.notifications(topology, options=options)
    yield project.pubsub_agent(agent, topology.queues[0].subscription, options=options, tracks=tracks)

    for queue in topology.queues:
        yield from (pubsub.topic(tier.topic, options=options) for tier in queue.tiers)
        yield pubsub.topic(queue.dead_letter_topic, options=options)
        yield from (pubsub.work_subscription(queue, tier, options=options) for tier in queue.tiers)
        yield pubsub.dead_letter_subscription(queue, options=options)
        # Workers publish too: what a task submits itself. And the job that keeps dead letters: tasks that waited for a
        # time.
        publishers = {publisher: (api, worker, keeper), viewer: (api,)}
        for tier in queue.tiers:
            notifiers = (storage_agent,) if tier.topic == queue.topic and queue.name in prefixes(topology) else ()
            yield bind("topic", tier.topic, {**publishers, publisher: (*publishers[publisher], *notifiers)})
        # Pub/Sub's own agent forwards what was delivered too often; workers send what they reject.
        yield bind("topic", queue.dead_letter_topic, {publisher: (agent, worker)})
        yield from (bind("subscription", tier.subscription, {subscriber: (agent, worker)}) for tier in queue.tiers)
        yield bind("subscription", queue.dead_letter_subscription, {subscriber: (keeper,)})


def _compute(
    topology: Topology,
    options: Options,
    tracks: ReleaseTracks,
    image: str,
    canaries: Mapping[str, Canary],
    *,
    project_number: str,
) -> Iterator[Resource]:
    yield from secrets.resources(topology, options=options)
    canary = canaries.get(f"service/{options.api_service}")
    yield run.service(topology, image=image, options=options, project_number=project_number, canary=canary)
    invoker = "roles/run.invoker"
    callers = (options.member("scheduler"), *((options.member("console"),) if options.console else ()))
    yield _on_run("services", options.api_service, {invoker: callers}, options)
    if options.console:
        yield from console.resources(
            options.console, image=image, options=options, tracks=tracks, project_number=project_number
        )
    dead = run.dead_letter_job(topology, image=image, options=options)
    jobs = {dead.name: (dead, scheduler.DEAD_LETTER_CRON)}
    if options.workers == "pool":
        for queue in topology.queues:
            canary = canaries.get(f"pool/{queue.topic}")
            yield worker_pools.pool(
                queue, topology=topology, image=image, options=options, tracks=tracks, canary=canary
            )
            if tracks.pool_policies:
                yield _on_pool(queue.topic, options, tracks)
    else:
        for queue in topology.queues:
            job = run.drain_job(queue, topology=topology, image=image, options=options)
            jobs[job.name] = (job, scheduler.drain_cron(options))
    for name, (job, cron) in jobs.items():
        yield job
        yield _on_run("jobs", name, {invoker: (options.member("scheduler"),)}, options)
        yield scheduler.start(name, options=options, cron=cron)
    if options.autoscale:
        yield autoscaler.parameter(options=options)
        version = autoscaler.version(topology, options=options)
        yield version
        yield _on_worker_account(options)
        pools = tuple(f"pool/{queue.topic}" for queue in topology.queues)
        granted = tuple(f"grants/{pool}" for pool in pools) if tracks.pool_policies else ()
        yield autoscaler.service(revision=version.name, options=options, after=(*pools, *granted))


def _on_run(group: str, name: str, bindings: Bindings, options: Options) -> Resource:
    return grants(
        f"{group.removesuffix('s')}/{name}", bindings, options=options, arguments=("run", group), name=name, api="run",
        # A public API has no invoker check: a public grant that was made by hand is removed.
        more=(flag("region", options.region),), also_ours=lambda member: member == "allUsers",
    )  # fmt: skip


def _on_pool(name: str, options: Options, tracks: ReleaseTracks) -> Resource:
    scaler = {"roles/run.developer": (options.member("autoscaler"),)} if options.autoscale else {}
    return grants(
        f"pool/{name}", scaler, options=options, arguments=tracks.worker_pools, name=name, api="run",
        more=(flag("region", options.region),),
    )  # fmt: skip


def _on_worker_account(options: Options) -> Resource:
    # Who changes a pool must be allowed to act as the account that it runs as.
    return grants(
        f"account/{options.account_name('worker')}",
        {"roles/iam.serviceAccountUser": (options.member("autoscaler"),)},
        options=options,
        arguments=("iam", "service-accounts"),
        name=options.account("worker"),
        api="iam",
        exclusive="worker" not in options.own_accounts,
    )


def _on_project(topology: Topology, options: Options, tracks: ReleaseTracks) -> Bindings:
    bindings: dict[str, tuple[str, ...]] = {"roles/monitoring.viewer": (options.member("api"),)}
    if options.own_cloud_sql:
        # Cloud SQL has no policies of single instances (Cloud SQL, Roles and permissions).
        parts = ("api", "worker", *(("dead-letters",) if topology.hooks else ()))
        bindings["roles/cloudsql.client"] = tuple(options.member(part) for part in parts)
    if options.autoscale:
        scaler = options.member("autoscaler")
        # Backlog figures and the configuration; the pools only where this gcloud can't grant on single ones.
        bindings["roles/monitoring.viewer"] += (scaler,)
        bindings["roles/parametermanager.parameterViewer"] = (scaler,)
        if not tracks.pool_policies:
            bindings["roles/run.developer"] = (scaler,)
        bindings["roles/pubsub.viewer"] = (scaler,)
    if options.cloud_trace:
        bindings["roles/telemetry.tracesWriter"] = tuple(options.member(part) for part in options.cloud_trace)
    for role in options.worker_roles:
        members = dict.fromkeys((*bindings.get(role, ()), options.member("worker")))
        bindings[role] = tuple(members)
    return bindings
