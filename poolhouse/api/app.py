"""The application: its parts put together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from datetime import datetime
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.utils import generate_unique_id

from poolhouse.api import backlog as backlogs
from poolhouse.api import problems, schemas
from poolhouse.api.access import Access
from poolhouse.api.backlog import BacklogSource
from poolhouse.api.body_gate import BodyGate
from poolhouse.api.callers import CallerCheck, check, quota
from poolhouse.api.queue_gauges import QueueGauges
from poolhouse.api.routes import (
    bulk,
    dead_letters,
    docs,
    downloads,
    events,
    files,
    groups,
    health,
    index,
    limits,
    queues,
    quotas,
    scheduled,
    schedules,
    statistics,
    submissions,
    tasks,
    triggers,
)
from poolhouse.api.routes.events import TaskEvents
from poolhouse.api.services import Deployment, Services, Threads
from poolhouse.api.traced_calls import TracedCalls
from poolhouse.pipeline.config import settings as environment
from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.errors import PoolhouseError
from poolhouse.pipeline.index.journal import Journal, journalled
from poolhouse.pipeline.index.task_index import TaskIndex
from poolhouse.pipeline.limits.quota_store import QuotaStore
from poolhouse.pipeline.messaging.publisher import Publisher
from poolhouse.pipeline.metrics.definitions import QUEUE_TASKS
from poolhouse.pipeline.metrics.process_metrics import open_metrics, process_hooks
from poolhouse.pipeline.metrics.storage_calls import observed
from poolhouse.pipeline.store import ObjectStore, open_store
from poolhouse.pipeline.traces.process_traces import hook_names, open_traces
from poolhouse.worker import registry as handlers
from poolhouse.worker.registry import Registry

_log = structlog.get_logger("api")
#: What `create_app` takes in the place of what the environment names, by its parameters' names: a test kit serves the
#: application of a project, whose function gives none of them.
provided: ContextVar[Mapping[str, Any]] = ContextVar("provided", default={})  # noqa: B039 - never changed in place
_DESCRIPTION = """Submit background tasks, follow them, read their results.

Errors are problem documents (RFC 9457) that also carry `error`, and `errors` with the fields that are wrong.
"""


def create_app(
    settings: Settings | None = None,
    *,
    store: ObjectStore | None = None,
    publisher: Publisher | None = None,
    registry: Registry | None = None,
    backlog: BacklogSource | None = None,
    clock: Callable[[], datetime] | None = None,
    event_poll_s: float = events.POLL_S,
) -> FastAPI:
    """Make the application; what is not given comes from the settings, and those from the environment.

    Args:
        settings: the environment.
        store: the bucket.
        publisher: the queues; closed with the application.
        registry: the handlers whose tasks may be submitted.
        backlog: where the figures of GET /queues come from.
        clock: the clock; an aware datetime.
        event_poll_s: pause between two looks at a task that is followed, in seconds.

    Raises:
        ConfigError: the environment, `pipeline.toml` or a handler is wrong.
    """
    given = provided.get()
    settings = settings or given.get("settings") or environment.load()
    store = store or given.get("store") or open_store(settings)
    publisher = publisher or given.get("publisher")
    registry = given.get("registry") if registry is None else registry
    clock = clock or given.get("clock")
    registry = handlers.load(settings.handlers) if registry is None else registry
    publisher = publisher or Publisher(settings)
    metrics = open_metrics(settings, part="api", task_types=registry)
    traces = open_traces(settings, part="api")
    store = observed(store, metrics, traces)
    journal = Journal(store, flush_s=settings.topology.index.write_interval_s, unrecorded=registry.unrecorded)
    publisher.on_submitted = journal.submitted
    publisher.on_publishing = traces.publishing if traces is not None else None
    store = journalled(store, journal)
    deployment = Deployment(store)
    services = Services(
        settings=settings,
        registry=registry,
        hooks=registry.hooks(process_hooks(hook_names(settings), metrics)),
        store=store,
        publisher=publisher,
        backlog=backlog or backlogs.open_source(settings),
        clock=clock or settings.clock,
        threads=Threads(wait_s=settings.storage_timeout_s),
        deployment=deployment,
        after_end=registry.after_end(settings.topology, deployment.load, store=store),
        index=TaskIndex(
            store,
            journal=journal,
            longest_wait=settings.topology.longest_wait,
            keep=settings.topology.bucket.keeps("tasks"),
            clock=clock or settings.clock,
        ),
        journal=journal,
    )
    services.check()
    callers_quotas = (
        {}
        if settings.api_access is None
        else quota.declared(settings.api_access, store=QuotaStore(store), run=services.threads.run, now=services.clock)
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if metrics is not None:
            gauges = QueueGauges(services, loop=asyncio.get_running_loop())
            metrics.observe(QUEUE_TASKS, gauges.look)
            metrics.start()
        warming = asyncio.create_task(_warm_up(services))
        yield
        services.ending.begin()
        app.state.events.close()
        warming.cancel()
        with suppress(asyncio.CancelledError):
            await warming
        with suppress(TimeoutError):
            closing = asyncio.gather(*(each.close() for shared in callers_quotas.values() for each in shared))
            await asyncio.wait_for(closing, services.ending.left_s() / 2)
        await asyncio.to_thread(services.publisher.close, timeout_s=services.ending.left_s())
        await asyncio.to_thread(services.journal.close, timeout_s=services.ending.left_s())
        await asyncio.to_thread(services.hooks.close)  # metrics may look at the index once more
        await asyncio.to_thread(services.index.close)
        services.threads.close()

    app = FastAPI(
        title="Poolhouse",
        version="1",
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        generate_unique_id_function=_operation_id,
    )
    app.state.services = services
    app.state.body_gate = BodyGate(capacity_bytes=services.topology.payloads.max_bytes)
    app.state.events = TaskEvents(services, poll_s=event_poll_s)
    parts = (
        *(submissions, tasks, scheduled, groups, bulk, events, files, downloads),
        *(queues, statistics, index, dead_letters, schedules, triggers, health, docs),
        *(limits, quotas),
    )
    for part in parts:
        app.include_router(part.router)
    app.state.routes = [route for part in parts for route in part.router.routes]
    problems.install(app)
    if traces is not None:
        app.add_middleware(TracedCalls, traces=traces)
    if settings.api_access is not None:
        app.add_middleware(CallerCheck, access=settings.api_access, quotas=callers_quotas)
    app.add_middleware(Access, project=settings.google_cloud_project, guard=settings.web_guard)

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = schemas.document(app, services.registry, services.topology)
            if settings.api_access is not None:
                check.describe(app.openapi_schema, settings.api_access)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's guide has it
    return app


def _operation_id(route: APIRoute) -> str:
    """The name of a call in the clients that generators make; names of an application's own can't clash."""
    ours = route.endpoint.__module__.startswith("poolhouse.")
    return route.name if ours else generate_unique_id(route)


async def _warm_up(services: Services) -> None:
    """Read the deployment's key and connect to the queue before the first call needs them; failing is no failure."""
    try:
        await services.task_ids()
        await asyncio.to_thread(services.publisher.check)
    except PoolhouseError as error:
        _log.warning("queue and bucket are not both there yet", error=str(error))
