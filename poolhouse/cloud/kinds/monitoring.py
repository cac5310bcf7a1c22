"""What is watched: metrics out of logs, one dashboard, alert policies."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping

from poolhouse.cloud.gcloud.release_tracks import ReleaseTracks
from poolhouse.cloud.options import LABEL, Options
from poolhouse.cloud.resource import Command, Fields, Json, Read, Resource, Value, command, entry, flag
from poolhouse.pipeline.config.topology import Topology

#: A queue whose oldest task waits longer than this is not keeping up, in seconds.
BACKLOG_AGE_S = 900
#: API answers slower than this (95th percentile) are worth a look, in milliseconds.
LATENCY_MS = 2000
#: An incident ends when its data stops for so long, in seconds: the least that Cloud Monitoring takes.
AUTO_CLOSE_S = 1800
METRICS = Read(arguments=("logging", "metrics", "list"), api="logging.googleapis.com")
DASHBOARDS = Read(arguments=("monitoring", "dashboards", "list"), api="monitoring.googleapis.com")
#: Field of dashboards and user label of policies that shows whether their text is current.
_REVISION = "revision"
#: Beginnings of filters: the rest is the metric's name, a quotation mark, and further conditions.
_SUBSCRIPTION = 'resource.type="pubsub_subscription" AND metric.type="pubsub.googleapis.com/subscription/'
_POOL = 'resource.type="cloud_run_worker_pool" AND metric.type="run.googleapis.com/container/'
_RUNTIMES = 'one_of("cloud_run_revision", "cloud_run_worker_pool", "cloud_run_job")'


def log_metrics(options: Options) -> Iterator[Resource]:
    """Metrics out of log lines of this pipeline's API and workers."""
    ours = of_this_pipeline(options)
    yield log_metric(f"{options.name}-errors", f"severity>=ERROR AND ({ours})", "log lines of severity ERROR", options)
    # The line that the dead-letter worker writes for each task that it keeps.
    dead = (
        f'jsonPayload.message="a task is dead" AND ({ours} OR resource.labels.job_name="{options.name}-dead-letters")'
    )
    yield log_metric(f"{options.name}-dead-letters", dead, "tasks that failed for good", options)
    # The API's own line about each call. Cloud Run's figure would count streams of events, which last for minutes.
    calls = f'jsonPayload.message="request" AND NOT jsonPayload.path=~"/events$" AND {_service(options)}'
    latency = {
        "valueExtractor": "EXTRACT(jsonPayload.duration_ms)",
        "metricDescriptor": {"metricKind": "DELTA", "valueType": "DISTRIBUTION", "unit": "ms"},
        "bucketOptions": {"exponentialBuckets": {"numFiniteBuckets": 40, "growthFactor": 1.5, "scale": 1}},
    }
    yield log_metric(f"{options.name}-latency", calls, "time of a call", options, more=latency)


def of_this_pipeline(options: Options) -> str:
    """Return the filter of log lines of a pipeline's API and workers."""
    return f'labels."{LABEL}"="{options.name}" OR resource.labels.service_name="{options.api_service}"'


def dashboard(topology: Topology, *, options: Options, charts: Iterable[Json] = ()) -> Resource:
    """The pipeline's dashboard, under a fixed name: `create` would make another one each time.

    Args:
        topology: pipeline.toml.
        options: the choices of the deploy.
        charts: widgets beside those of Google's own metrics.
    """
    name = f"{options.name}-pipeline"
    body = {
        "name": f"projects/{options.project}/dashboards/{name}",
        "displayName": f"{options.name}: pipeline",
        "mosaicLayout": {"columns": 12, "tiles": list(_tiles([*_charts_of(topology, options), *charts]))},
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
        return {_REVISION: present[0] if present else None, "charts": _charts(found)}

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
        wanted={_REVISION: revision, "charts": _charts(body)},
        read=DASHBOARDS,
        observe=observe,
        create=(
            command(
                "monitoring", "dashboards", "create", "--config-from-file={file:dashboard.json}",
                files={"dashboard.json": json.dumps(body, indent=1)},
            ),
        ),
        update=update,
        after=(f"apis/{options.project}", f"metric/{options.name}-latency"),
    )  # fmt: skip


def alerts(topology: Topology, *, options: Options, tracks: ReleaseTracks) -> Iterator[Resource]:
    """The alert policies, each found again by its user labels."""
    service = _service(options)
    live = _any("subscription_id", (tier.subscription for queue in topology.queues for tier in queue.tiers))
    rules: dict[str, tuple[str, str, Json, float, str]] = {
        "backlog-age": (
            f"Tasks wait longer than {BACKLOG_AGE_S // 60} minutes",
            f'{_SUBSCRIPTION}oldest_unacked_message_age" AND ({live})',
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
            _latency(options),
            {"alignmentPeriod": "300s", "perSeriesAligner": "ALIGN_PERCENTILE_95", "crossSeriesReducer": "REDUCE_MAX"},
            LATENCY_MS,
            "Cold starts (raise `min_instances` under [deploy.api] in pipeline.toml), or too few instances.",
        ),
    }
    for key, (title, condition, aggregation, threshold, advice) in rules.items():
        body = {
            **policy(title, advice, options),
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
        }
        # A policy may name a metric only once that is there.
        metrics = tuple(f"metric/{options.name}-{metric}" for metric in ("errors", "dead-letters", "latency"))
        yield alert(key, body, options=options, tracks=tracks, after=metrics)


def policy(title: str, advice: str, options: Options) -> Json:
    """Return what all alert policies have: title, advice and whom they notify."""
    return {
        "displayName": f"{options.name}: {title}",
        "combiner": "OR",
        "documentation": {"content": advice, "mimeType": "text/markdown"},
        # Without it an incident stays open for seven days when a counter has no more data.
        "alertStrategy": {"autoClose": f"{AUTO_CLOSE_S}s"},
        "notificationChannels": [options.channel] if options.channel else [],
    }


def channel(*, options: Options, tracks: ReleaseTracks) -> Iterator[Resource]:
    """The notification channel, which a person makes: a wrong name would end a deploy at its last step."""
    if not options.channel:
        return

    def observe(raw: Json) -> Fields | None:
        there = any(item.get("name") == options.channel for item in raw or ())
        return {"there": True} if there else None

    listed = " ".join(("gcloud", *tracks.channels, "list"))
    yield Resource(
        kind="channel",
        name=options.channel,
        wanted={"there": True},
        read=Read(arguments=(*tracks.channels, "list"), api="monitoring.googleapis.com"),
        observe=observe,
        create=(),
        after=(f"apis/{options.project}",),
        absent=f"`channel` under [deploy] of pipeline.toml names no notification channel of {options.project}: "
        f"`{listed} --format='value(name)'` shows those that are there.",
    )


def policies(tracks: ReleaseTracks) -> Read:
    """How all alert policies are read."""
    return Read(arguments=(*tracks.policies, "list"), api="monitoring.googleapis.com")


def alert(key: str, body: Json, *, options: Options, tracks: ReleaseTracks, after: tuple[str, ...]) -> Resource:
    """An alert policy, found again by its user labels.

    Args:
        key: tells it from the others of this pipeline.
        body: the policy.
        options: the choices of the deploy.
        tracks: the release tracks of the installed gcloud.
        after: what must be there before it.
    """
    revision = _revision(body)
    body = {**body, "userLabels": {LABEL: options.name, "alert": key, _REVISION: revision}}
    file = {"policy.json": json.dumps(body, indent=1)}

    def observe(raw: Json) -> Fields | None:
        found = find_alert(raw, key, options)
        if found is None:
            return None
        enabled = found.get("enabled", True)
        return {_REVISION: found["userLabels"].get(_REVISION), "enabled": enabled, **_condition(found)}

    def update(raw: Json) -> tuple[Command, ...]:
        name = (find_alert(raw, key, options) or {}).get("name", "")
        arguments = (flag("policy-from-file", "{file:policy.json}"), "--enabled")
        return (command(*tracks.policies, "update", name, *arguments, files=file),)

    return Resource(
        kind="alert",
        name=f"{options.name}-{key}",
        wanted={_REVISION: revision, "enabled": True, **_condition(body)},
        read=policies(tracks),
        observe=observe,
        create=(command(*tracks.policies, "create", flag("policy-from-file", "{file:policy.json}"), files=file),),
        update=update,
        after=after,
    )


def find_alert(raw: Json, key: str, options: Options) -> Json:
    """Return the policy of a listing with this pipeline's labels; None where there is none."""
    for policy in raw or ():
        labels = policy.get("userLabels", {})
        if labels.get(LABEL) == options.name and labels.get("alert") == key:
            return policy
    return None


def _condition(policy: Json) -> Fields:
    """What a policy waits for, and whom it notifies: the part that people change by hand."""
    (condition, *_) = policy["conditions"]
    channels = tuple(policy.get("notificationChannels", ()))
    promql = condition.get("conditionPrometheusQueryLanguage")
    if promql is not None:
        return {"query": promql.get("query"), "for": promql.get("duration", "0s"), "channels": channels}
    threshold = condition.get("conditionThreshold", {})
    return {
        "filter": threshold.get("filter"),
        "above": float(threshold.get("thresholdValue", 0)),
        "for": threshold.get("duration", "0s"),
        "channels": channels,
    }


def _charts(body: Json) -> Value:
    """Title and filter of each chart of a dashboard."""
    found = []
    for tile in body.get("mosaicLayout", {}).get("tiles", ()):
        widget = tile.get("widget", {})
        sets = widget.get("xyChart", {}).get("dataSets", ())
        queries = [part.get("timeSeriesQuery", {}) for part in sets]
        filters = [
            query.get("prometheusQuery") or query.get("timeSeriesFilter", {}).get("filter", "") for query in queries
        ]
        found.append(f"{widget.get('title')} ({_revision(filters)[:6]})")
    return tuple(found)


def log_metric(
    name: str, log_filter: str, description: str, options: Options, *, more: Mapping[str, Json] | None = None
) -> Resource:
    """A metric that counts lines, or measures what is in them.

    Args:
        name: its name.
        log_filter: which lines.
        description: what it is.
        options: the choices of the deploy.
        more: further fields: of a distribution, the field with the value, its buckets and its labels.
    """
    body = {"description": f"Poolhouse: {description} {options.mark}", "filter": log_filter, "disabled": False}
    body |= more or {}
    file = {"metric.json": json.dumps(body, indent=1)}
    flags = flag("config-from-file", "{file:metric.json}")

    def observe(raw: Json) -> Fields | None:
        found = entry(raw, "name", name)
        return None if found is None else _metric_fields(found)

    return Resource(
        kind="metric",
        name=name,
        wanted=_metric_fields(body),
        read=METRICS,
        observe=observe,
        create=(command("logging", "metrics", "create", name, flags, files=file),),
        update=lambda raw: (command("logging", "metrics", "update", name, flags, files=file),),
        after=(f"apis/{options.project}",),
    )


def _metric_fields(body: Json) -> Fields:
    labels = [f"{label} {extractor}" for label, extractor in (body.get("labelExtractors") or {}).items()]
    bounds = (body.get("bucketOptions") or {}).get("explicitBuckets", {}).get("bounds", ())
    return {
        "filter": body.get("filter"),
        "description": body.get("description"),
        "value": body.get("valueExtractor") or None,
        **({"labels": tuple(sorted(labels))} if labels else {}),
        **({"buckets": tuple(f"{bound:g}" for bound in bounds)} if bounds else {}),
        "disabled": bool(body.get("disabled", False)),
    }


def _charts_of(topology: Topology, options: Options) -> Iterator[Json]:
    """The widgets of Google's own metrics."""
    live = _any("subscription_id", (tier.subscription for queue in topology.queues for tier in queue.tiers))
    dead = _any("subscription_id", (queue.dead_letter_subscription for queue in topology.queues))
    names = [queue.topic for queue in topology.queues]
    api = f'{_service(options)} AND metric.type="run.googleapis.com/'
    subscription, instances = "resource.labels.subscription_id", "resource.labels.worker_pool_name"
    workers = f"({_any('worker_pool_name', names)})"
    charts = [
        ("Waiting tasks", f'{_SUBSCRIPTION}num_undelivered_messages" AND ({live})', "ALIGN_MEAN", subscription),
        (
            "Age of the oldest task",
            f'{_SUBSCRIPTION}oldest_unacked_message_age" AND ({live})',
            "ALIGN_MAX",
            subscription,
        ),
        ("Finished deliveries a second", f'{_SUBSCRIPTION}ack_message_count" AND ({live})', "ALIGN_RATE", subscription),
        (
            "Dead letters not kept yet",
            f'{_SUBSCRIPTION}num_undelivered_messages" AND ({dead})',
            "ALIGN_MEAN",
            subscription,
        ),
        ("API requests a second", f'{api}request_count"', "ALIGN_RATE", "metric.labels.response_code_class"),
        ("API latency, 95th percentile", _latency(options), "ALIGN_PERCENTILE_95", "resource.labels.service_name"),
    ]
    if options.workers == "pool":
        charts += [
            ("Worker instances", f'{_POOL}instance_count" AND {workers}', "ALIGN_MAX", instances),
            ("Worker CPU", f'{_POOL}cpu/utilizations" AND {workers}', "ALIGN_PERCENTILE_95", instances),
        ]
    else:
        jobs = f'resource.type="cloud_run_job" AND ({_any("job_name", names)}) AND metric.type="run.googleapis.com/job/'
        charts += [
            ("Runs of the workers' jobs", f'{jobs}running_executions"', "ALIGN_MAX", "resource.labels.job_name"),
            ("Ended runs", f'{jobs}completed_execution_count"', "ALIGN_DELTA", "metric.labels.result"),
        ]
    for title, condition, aligner, group in charts:
        # One line a queue, pool or class of answers, whatever revisions and instances there are.
        reducer = "REDUCE_SUM" if aligner in {"ALIGN_RATE", "ALIGN_DELTA", "ALIGN_MEAN"} else "REDUCE_MAX"
        if "instance_count" in condition:
            reducer = "REDUCE_SUM"
        aggregation = {
            "alignmentPeriod": "60s",
            "perSeriesAligner": aligner,
            "crossSeriesReducer": reducer,
            "groupByFields": [group],
        }
        query = {"timeSeriesFilter": {"filter": condition, "aggregation": aggregation}}
        yield {"title": title, "xyChart": {"dataSets": [{"timeSeriesQuery": query, "plotType": "LINE"}]}}


def _tiles(widgets: Iterable[Json]) -> Iterator[Json]:
    """Widgets in two columns."""
    for index, widget in enumerate(widgets):
        yield {"xPos": 6 * (index % 2), "yPos": 4 * (index // 2), "width": 6, "height": 4, "widget": widget}


def _service(options: Options) -> str:
    return f'resource.type="cloud_run_revision" AND resource.labels.service_name="{options.api_service}"'


def _latency(options: Options) -> str:
    return f'metric.type="logging.googleapis.com/user/{options.name}-latency" AND {_service(options)}'


def _any(label: str, names: Iterable[str]) -> str:
    return " OR ".join(f'resource.labels.{label}="{name}"' for name in names)


def _revision(body: Json) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:12]
