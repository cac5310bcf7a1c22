"""What is watched: metrics out of logs, one dashboard, alert policies."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator

from poolhouse.cloud.gcloud.release_tracks import Tracks
from poolhouse.cloud.options import LABEL, Options
from poolhouse.cloud.resource import Command, Fields, Json, Read, Resource, command, entry, flag
from poolhouse.pipeline.topology import Topology

#: A queue whose oldest task waits longer than this is not keeping up, in seconds.
BACKLOG_AGE_S = 900
#: API answers slower than this (95th percentile) are worth a look, in milliseconds.
LATENCY_MS = 2000
METRICS = Read(words=("logging", "metrics", "list"), api="logging.googleapis.com")
DASHBOARDS = Read(words=("monitoring", "dashboards", "list"), api="monitoring.googleapis.com")
#: Field of dashboards and user label of policies that tells whether their text is the present one.
_REVISION = "revision"
#: Beginnings of filters: the rest is the metric's name, a quotation mark, and further conditions.
_SUBSCRIPTION = 'resource.type="pubsub_subscription" AND metric.type="pubsub.googleapis.com/subscription/'
_POOL = 'resource.type="cloud_run_worker_pool" AND metric.type="run.googleapis.com/container/'
_RUNTIMES = 'one_of("cloud_run_revision", "cloud_run_worker_pool", "cloud_run_job")'


def log_metrics(options: Options) -> Iterator[Resource]:
    """Metrics that count log lines of this pipeline's API and workers."""
    ours = f'labels."{LABEL}"="{options.name}" OR resource.labels.service_name="{options.api_service}"'
    yield _metric(f"{options.name}-errors", f"severity>=ERROR AND ({ours})", "log lines of severity ERROR", options)
    # The line that the dead-letter worker writes for each task that it keeps.
    dead = (
        f'jsonPayload.message="a task is dead" AND ({ours} OR resource.labels.job_name="{options.name}-dead-letters")'
    )
    yield _metric(f"{options.name}-dead-letters", dead, "tasks that failed for good", options)


def dashboard(topology: Topology, *, options: Options) -> Resource:
    """The pipeline's dashboard, under a fixed name: `create` would make another one each time."""
    name = f"{options.name}-pipeline"
    body = {
        "name": f"projects/{options.project}/dashboards/{name}",
        "displayName": f"{options.name}: pipeline",
        "mosaicLayout": {"columns": 12, "tiles": list(_tiles(topology, options))},
    }
    revision = _revision(body)
    # Labels of a dashboard are keys with empty values.
    body["labels"] = {LABEL: "", f"{_REVISION}-{revision}": ""}

    def observe(raw: Json) -> Fields | None:
        found = entry(raw, "name", name)
        if found is None:
            return None
        labels = found.get("labels") or {}
        present = [key.partition("-")[2] for key in labels if key.startswith(f"{_REVISION}-")]
        return {_REVISION: present[0] if present else None}

    def update(raw: Json) -> tuple[Command, ...]:
        # Sent with the etag that was read: a change made on the console in between is a conflict, not lost.
        found = entry(raw, "name", name) or {}
        text = json.dumps({**body, "etag": found.get("etag", "")}, indent=1)
        file = {"dashboard.json": text}
        return (
            command("monitoring", "dashboards", "update", name, "--config-from-file={file:dashboard.json}", files=file),
        )

    return Resource(
        kind="dashboard",
        name=name,
        wanted={_REVISION: revision},
        read=DASHBOARDS,
        observe=observe,
        create=(
            command(
                "monitoring", "dashboards", "create", "--config-from-file={file:dashboard.json}",
                files={"dashboard.json": json.dumps(body, indent=1)},
            ),
        ),
        update=update,
        after=(f"apis/{options.project}",),
    )  # fmt: skip


def alerts(topology: Topology, *, options: Options, tracks: Tracks) -> Iterator[Resource]:
    """The alert policies, each found again by its user labels."""
    service = f'resource.type="cloud_run_revision" AND resource.labels.service_name="{options.api_service}"'
    rules: dict[str, tuple[str, str, Json, float, str]] = {
        "backlog-age": (
            f"Tasks wait longer than {BACKLOG_AGE_S // 60} minutes",
            f'{_SUBSCRIPTION}oldest_unacked_message_age" AND ({_any(queue.subscription for queue in topology.queues)})',
            {"alignmentPeriod": "60s", "perSeriesAligner": "ALIGN_MAX"},
            BACKLOG_AGE_S,
            "More or larger workers (`[queues.NAME.workers]` in pipeline.toml), or a handler that hangs: "
            "`invoke status --project` shows which queue, `invoke logs --project` why.",
        ),
        "dead-letters": (
            "Tasks failed for good",
            f'metric.type="logging.googleapis.com/user/{options.name}-dead-letters" AND resource.type="cloud_run_job"',
            {"alignmentPeriod": "300s", "perSeriesAligner": "ALIGN_DELTA"},
            0,
            "`invoke dlq --project` lists them with their reasons; replay them once the cause is mended.",
        ),
        "errors": (
            "Errors in the logs",
            f'metric.type="logging.googleapis.com/user/{options.name}-errors" AND resource.type={_RUNTIMES}',
            {"alignmentPeriod": "300s", "perSeriesAligner": "ALIGN_DELTA", "crossSeriesReducer": "REDUCE_SUM"},
            10,
            "`invoke logs --project` shows them.",
        ),
        "api-5xx": (
            "The API answers 5xx",
            f'metric.type="run.googleapis.com/request_count" AND {service} AND metric.labels.response_code_class="5xx"',
            {"alignmentPeriod": "300s", "perSeriesAligner": "ALIGN_DELTA", "crossSeriesReducer": "REDUCE_SUM"},
            5,
            "A queue or bucket that does not answer gives 503: GET /ready names it.",
        ),
        "api-latency": (
            f"The API is slower than {LATENCY_MS // 1000} seconds",
            f'metric.type="run.googleapis.com/request_latencies" AND {service}',
            {"alignmentPeriod": "300s", "perSeriesAligner": "ALIGN_PERCENTILE_95", "crossSeriesReducer": "REDUCE_MAX"},
            LATENCY_MS,
            "Cold starts (raise --api-min-instances), or too few instances.",
        ),
    }
    for key, (title, condition, aggregation, threshold, advice) in rules.items():
        body = {
            "displayName": f"{options.name}: {title}",
            "combiner": "OR",
            "conditions": [
                {
                    "displayName": title,
                    "conditionThreshold": {
                        "filter": condition,
                        "aggregations": [aggregation],
                        "comparison": "COMPARISON_GT",
                        "thresholdValue": threshold,
                        "duration": "300s" if threshold else "0s",
                    },
                }
            ],
            "documentation": {"content": advice, "mimeType": "text/markdown"},
            "notificationChannels": [options.channel] if options.channel else [],
        }
        yield _alert(key, body, options=options, tracks=tracks)


def policies(tracks: Tracks) -> Read:
    """How all alert policies are read."""
    return Read(words=(*tracks.policies, "list"), api="monitoring.googleapis.com")


def _alert(key: str, body: Json, *, options: Options, tracks: Tracks) -> Resource:
    revision = _revision(body)
    # A policy may name a metric only once that is there.
    metrics = tuple(f"metric/{options.name}-{metric}" for metric in ("errors", "dead-letters"))
    body = {**body, "userLabels": {LABEL: options.name, "alert": key, _REVISION: revision}}
    file = {"policy.json": json.dumps(body, indent=1)}

    def find(raw: Json) -> Json:
        for policy in raw or ():
            labels = policy.get("userLabels", {})
            if labels.get(LABEL) == options.name and labels.get("alert") == key:
                return policy
        return None

    def observe(raw: Json) -> Fields | None:
        found = find(raw)
        if found is None:
            return None
        return {_REVISION: found["userLabels"].get(_REVISION), "enabled": found.get("enabled", True)}

    def update(raw: Json) -> tuple[Command, ...]:
        name = (find(raw) or {}).get("name", "")
        words = (flag("policy-from-file", "{file:policy.json}"), "--enabled")
        return (command(*tracks.policies, "update", name, *words, files=file),)

    return Resource(
        kind="alert",
        name=f"{options.name}-{key}",
        wanted={_REVISION: revision, "enabled": True},
        read=policies(tracks),
        observe=observe,
        create=(command(*tracks.policies, "create", flag("policy-from-file", "{file:policy.json}"), files=file),),
        update=update,
        after=metrics,
        stands_on=metrics,
    )


def _metric(name: str, log_filter: str, words: str, options: Options) -> Resource:
    description = f"Poolhouse: {words} {options.mark}"
    flags = (flag("description", description), flag("log-filter", log_filter))

    def observe(raw: Json) -> Fields | None:
        found = entry(raw, "name", name)
        return None if found is None else {"filter": found.get("filter"), "description": found.get("description")}

    return Resource(
        kind="metric",
        name=name,
        wanted={"filter": log_filter, "description": description},
        read=METRICS,
        observe=observe,
        create=(command("logging", "metrics", "create", name, *flags),),
        update=lambda raw: (command("logging", "metrics", "update", name, *flags),),
        after=(f"apis/{options.project}",),
    )


def _tiles(topology: Topology, options: Options) -> Iterator[Json]:
    live = _any(queue.subscription for queue in topology.queues)
    dead = _any(queue.dead_letter_subscription for queue in topology.queues)
    service = f'resource.type="cloud_run_revision" AND resource.labels.service_name="{options.api_service}"'
    api = f'{service} AND metric.type="run.googleapis.com/'
    charts = (
        ("Waiting tasks", f'{_SUBSCRIPTION}num_undelivered_messages" AND ({live})', "ALIGN_MEAN"),
        ("Age of the oldest task", f'{_SUBSCRIPTION}oldest_unacked_message_age" AND ({live})', "ALIGN_MAX"),
        ("Finished deliveries a second", f'{_SUBSCRIPTION}ack_message_count" AND ({live})', "ALIGN_RATE"),
        ("Dead letters not kept yet", f'{_SUBSCRIPTION}num_undelivered_messages" AND ({dead})', "ALIGN_MEAN"),
        ("API requests a second", f'{api}request_count"', "ALIGN_RATE"),
        ("API latency, 95th percentile", f'{api}request_latencies"', "ALIGN_PERCENTILE_95"),
        ("Worker instances", f'{_POOL}instance_count"', "ALIGN_MAX"),
        ("Worker CPU", f'{_POOL}cpu/utilizations"', "ALIGN_PERCENTILE_95"),
    )
    for index, (title, condition, aligner) in enumerate(charts):
        query = {
            "timeSeriesFilter": {
                "filter": condition,
                "aggregation": {"alignmentPeriod": "60s", "perSeriesAligner": aligner},
            }
        }
        yield {
            "xPos": 6 * (index % 2),
            "yPos": 4 * (index // 2),
            "width": 6,
            "height": 4,
            "widget": {
                "title": title,
                "xyChart": {"dataSets": [{"timeSeriesQuery": query, "plotType": "LINE"}]},
            },
        }


def _any(subscriptions: Iterable[str]) -> str:
    return " OR ".join(f'resource.labels.subscription_id="{name}"' for name in subscriptions)


def _revision(body: Json) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:12]
