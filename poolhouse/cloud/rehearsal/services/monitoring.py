"""Cloud Monitoring: dashboards (v1) and alert policies (v3)."""

from __future__ import annotations

import re
from typing import Any

from poolhouse.cloud.rehearsal.control_plane import Route, route
from poolhouse.cloud.rehearsal.http import ApiError, Request
from poolhouse.cloud.rehearsal.schema import (
    anything,
    boolean,
    check,
    duration,
    list_of,
    map_of,
    number,
    one_of,
    required,
    text,
    whole,
)
from poolhouse.cloud.rehearsal.state import Json, State

_ALIGNERS = (
    "ALIGN_MEAN",
    "ALIGN_MAX",
    "ALIGN_MIN",
    "ALIGN_SUM",
    "ALIGN_DELTA",
    "ALIGN_RATE",
    "ALIGN_PERCENTILE_95",
    "ALIGN_PERCENTILE_99",
    "ALIGN_COUNT",
)
_REDUCERS = ("REDUCE_NONE", "REDUCE_MEAN", "REDUCE_SUM", "REDUCE_MAX", "REDUCE_MIN")
_AGGREGATION = {
    "alignmentPeriod": duration(60, 10**6),
    "perSeriesAligner": one_of(*_ALIGNERS),
    "crossSeriesReducer": one_of(*_REDUCERS),
    "groupByFields": list_of(text()),
}
_QUERY = {
    "timeSeriesFilter": {"filter": text(), "aggregation": _AGGREGATION},
    "prometheusQuery": text(r"[\s\S]+"),
    "unitOverride": text(),
}
_DATA_SET = {"timeSeriesQuery": _QUERY, "plotType": one_of("LINE"), "legendTemplate": text()}
_WIDGET = {"title": text(), "xyChart": {"dataSets": list_of(_DATA_SET)}}
_TILE = {
    "xPos": whole(0, 47),
    "yPos": whole(0, 10_000),
    "width": whole(1, 48),
    "height": whole(1, 10_000),
    "widget": _WIDGET,
}
_DASHBOARD = {
    "name": text(r"projects/[^/]+/dashboards/[A-Za-z0-9-]+"),
    "displayName": text(),
    "etag": text(),
    "labels": map_of(text()),
    "mosaicLayout": {"columns": whole(1, 48), "tiles": list_of(_TILE)},
}
_CONDITION = {
    "displayName": text(),
    "name": text(),
    "conditionThreshold": {
        "filter": text(),
        "aggregations": list_of(_AGGREGATION),
        "comparison": one_of("COMPARISON_GT", "COMPARISON_LT"),
        "thresholdValue": number,
        "duration": duration(0, 82_800),
        "trigger": {"count": whole(0, 1000)},
    },
    "conditionPrometheusQueryLanguage": {
        "query": text(r"[\s\S]+"),
        "duration": duration(0, 82_800),
        "evaluationInterval": duration(30, 82_800),
        "labels": map_of(text()),
        "ruleGroup": text(longest=2048),
        "alertRule": text(longest=2048),
        "disableMetricValidation": boolean,
    },
}
_ALERT = {
    "name": text(),
    "displayName": text(longest=512),
    "combiner": one_of("OR", "AND", "AND_WITH_MATCHING_RESOURCE"),
    "conditions": list_of(_CONDITION, most=6),
    "documentation": {"content": text(longest=8192), "mimeType": one_of("text/markdown"), "subject": text()},
    "userLabels": map_of(text(r"[a-z0-9_-]{0,63}"), keys=r"[a-z][a-z0-9_-]{0,62}"),
    "notificationChannels": list_of(text(r"projects/[^/]+/notificationChannels/\d+"), most=16),
    "alertStrategy": {"autoClose": duration(1800, 604_800), "notificationRateLimit": {"period": duration(0, 10**6)}},
    "severity": one_of("CRITICAL", "ERROR", "WARNING"),
    "enabled": boolean,
    "creationRecord": anything,
    "mutationRecord": anything,
}


def _dashboard(state: State, dashboard: str) -> str:
    return f"monitoring/projects/{state.project}/dashboards/{dashboard}"


def _list_dashboards(state: State, request: Request) -> Json:
    return {"dashboards": state.listed(_dashboard(state, ""))}


def _create_dashboard(state: State, request: Request) -> Json:
    body = request.json
    check(body, _DASHBOARD)
    required(body, "displayName")
    dashboard = body.get("name", f"projects/x/dashboards/{state.number()}").rpartition("/")[2]
    made = {**body, "name": f"projects/{state.project}/dashboards/{dashboard}", "etag": state.etag()}
    return state.create(_dashboard(state, dashboard), made)


def _get_dashboard(state: State, request: Request, dashboard: str) -> Json:
    return state.get(_dashboard(state, dashboard))


def _patch_dashboard(state: State, request: Request, dashboard: str) -> Json:
    body = request.json
    check(body, _DASHBOARD)
    found = state.get(_dashboard(state, dashboard))
    if body.get("etag") != found["etag"]:
        raise ApiError("ABORTED", "The etag of the dashboard is not the present one.")
    found.clear()
    found.update({**body, "etag": state.etag()})
    return found


def _delete_dashboard(state: State, request: Request, dashboard: str) -> Json:
    state.delete(_dashboard(state, dashboard))


def _alert(state: State, policy: str) -> str:
    return f"monitoring/projects/{state.project}/alertPolicies/{policy}"


def _list_channels(state: State, request: Request) -> Json:
    return {"notificationChannels": state.listed(f"monitoring/projects/{state.project}/notificationChannels/")}


def _list_alerts(state: State, request: Request) -> Json:
    return {"alertPolicies": state.listed(_alert(state, ""))}


def _create_alert(state: State, request: Request) -> Json:
    body = request.json
    _check_alert(state, body)
    policy = str(state.number())
    # A policy of the same text is made a second time without a word: that is why they are found by their labels.
    made = {"enabled": True, **body, "name": f"projects/{state.project}/alertPolicies/{policy}"}
    return state.create(_alert(state, policy), made)


def _get_alert(state: State, request: Request, policy: str) -> Json:
    return state.get(_alert(state, policy))


def _patch_alert(state: State, request: Request, policy: str) -> Json:
    body = request.json
    _check_alert(state, body)
    found = state.get(_alert(state, policy))
    mask = list(filter(None, re.split(r"[,\s]+", request.query.get("updateMask", ""))))
    for field in mask or body:
        key = re.sub(r"_(\w)", lambda match: match[1].upper(), field).split(".")[0]
        if key in body:
            found[key] = body[key]
    return found


def _delete_alert(state: State, request: Request, policy: str) -> Json:
    state.delete(_alert(state, policy))


def _check_alert(state: State, body: dict[str, Any]) -> None:
    check(body, _ALERT)
    required(body, "combiner", "conditions")
    for name in body.get("notificationChannels", ()):
        if f"monitoring/{name}" not in state.items:
            raise ApiError("NOT_FOUND", f"Notification channel {name} not found.")
    for condition in body["conditions"]:
        if "conditionPrometheusQueryLanguage" in condition:
            _check_promql(condition["conditionPrometheusQueryLanguage"])
            continue
        log_filter = condition["conditionThreshold"]["filter"]
        if "metric.type=" not in log_filter or "resource.type=" not in log_filter:
            raise ApiError("INVALID_ARGUMENT", f"The filter must name a metric and a resource type: {log_filter}")
        for name in re.findall(r'logging\.googleapis\.com/user/([\w-]+)"', log_filter):
            if f"logging/projects/{state.project}/metrics/{name}" not in state.items:
                raise ApiError(
                    "NOT_FOUND", f'Cannot find metric that matches type = "logging.googleapis.com/user/{name}"'
                )


def _check_promql(condition: Json) -> None:
    """Check what PromQL conditions are held to (Cloud Monitoring, PrometheusQueryLanguageCondition)."""
    required(condition, "query")
    if float(condition.get("evaluationInterval", "30s")[:-1]) % 30:
        raise ApiError("INVALID_ARGUMENT", "The evaluation interval must be a multiple of 30 seconds.")


_DASHBOARDS = "/v1/projects/{project}/dashboards"
_ALERTS = "/v3/projects/{project}/alertPolicies"
ROUTES: tuple[Route, ...] = (
    route("GET", "/v3/projects/{project}/notificationChannels", _list_channels, api="monitoring"),
    route("GET", _DASHBOARDS, _list_dashboards, api="monitoring"),
    route("POST", _DASHBOARDS, _create_dashboard, api="monitoring"),
    route("GET", _DASHBOARDS + "/{dashboard}", _get_dashboard, api="monitoring"),
    route("PATCH", _DASHBOARDS + "/{dashboard}", _patch_dashboard, api="monitoring"),
    route("DELETE", _DASHBOARDS + "/{dashboard}", _delete_dashboard, api="monitoring"),
    route("GET", _ALERTS, _list_alerts, api="monitoring"),
    route("POST", _ALERTS, _create_alert, api="monitoring"),
    route("GET", _ALERTS + "/{policy}", _get_alert, api="monitoring"),
    route("PATCH", _ALERTS + "/{policy}", _patch_alert, api="monitoring"),
    route("DELETE", _ALERTS + "/{policy}", _delete_alert, api="monitoring"),
)
