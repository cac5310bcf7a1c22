"""Cloud Logging: entries, and metrics that count them."""

from __future__ import annotations

from poolhouse.cloud.rehearsal import log_filter
from poolhouse.cloud.rehearsal.control_plane import Route, route
from poolhouse.cloud.rehearsal.http import ApiError, Request
from poolhouse.cloud.rehearsal.schema import (
    anything,
    boolean,
    check,
    list_of,
    map_of,
    number,
    one_of,
    required,
    text,
    whole,
)
from poolhouse.cloud.rehearsal.state import Json, State

_EXTRACTOR = text(r"(EXTRACT|REGEXP_EXTRACT)\([^()]+\)")
_METRIC = {
    "name": text(r"[A-Za-z0-9_.,+!*',()%/-]{1,100}"),
    "description": text(longest=8000),
    "filter": text(longest=20_000),
    "metricDescriptor": {
        "metricKind": one_of("DELTA"),
        "valueType": one_of("INT64", "DISTRIBUTION"),
        "unit": text(),
        "labels": list_of(
            {"key": text(r"[a-zA-Z][a-zA-Z0-9_]*"), "valueType": one_of("STRING", "INT64", "BOOL")}, most=10
        ),
        "name": anything,
        "type": anything,
    },
    "valueExtractor": _EXTRACTOR,
    "labelExtractors": map_of(_EXTRACTOR, keys=r"[a-zA-Z][a-zA-Z0-9_]*"),
    "bucketOptions": {
        "exponentialBuckets": {"numFiniteBuckets": whole(1, 100), "growthFactor": number, "scale": number},
        "explicitBuckets": {"bounds": list_of(number, most=200)},
    },
    "disabled": boolean,
    "createTime": anything,
    "updateTime": anything,
    "version": anything,
    "resourceName": anything,
}


def _name(state: State, metric: str) -> str:
    return f"logging/projects/{state.project}/metrics/{metric}"


def _list(state: State, request: Request) -> Json:
    return {"metrics": state.listed(_name(state, ""))}


def _create(state: State, request: Request) -> Json:
    body = request.json
    check(body, _METRIC)
    required(body, "name", "filter")
    _check_distribution(body)
    return state.create(_name(state, body["name"]), body, message=f"Metric {body['name']} already exists")


def _get(state: State, request: Request, metric: str) -> Json:
    return state.get(_name(state, metric), message=f"Metric {metric} does not exist")


def _put(state: State, request: Request, metric: str) -> Json:
    body = request.json
    check(body, _METRIC)
    required(body, "filter")
    _check_distribution(body)
    state.items[_name(state, metric)] = {**body, "name": metric}
    return state.items[_name(state, metric)]


def _check_distribution(body: Json) -> None:
    """Values are for distributions alone, and these need them (Cloud Logging, LogMetric)."""
    distribution = body.get("metricDescriptor", {}).get("valueType") == "DISTRIBUTION"
    if distribution != bool(body.get("valueExtractor")) or distribution != bool(body.get("bucketOptions")):
        raise ApiError(
            "INVALID_ARGUMENT", "A value extractor and bucket options go with DISTRIBUTION, and only with it."
        )
    declared = {label["key"] for label in body.get("metricDescriptor", {}).get("labels", ())}
    if declared != set(body.get("labelExtractors", {})):
        raise ApiError(
            "INVALID_ARGUMENT", "Each label of the descriptor needs an extractor, and each extractor a label."
        )


def _delete(state: State, request: Request, metric: str) -> Json:
    state.delete(_name(state, metric))


def _entries(state: State, request: Request) -> Json:
    body = request.json
    asked = {"resourceNames": list_of(text()), "filter": text(), "pageToken": text()}
    check(body, {**asked, "orderBy": one_of("timestamp asc", "timestamp desc"), "pageSize": whole(1, 1000)})
    condition = log_filter.parse(body.get("filter", ""))
    found = [entry for entry in state.entries if condition(entry)]
    if body.get("orderBy") == "timestamp desc":
        found.reverse()
    return {"entries": found[: body.get("pageSize", 50)]}


_METRICS = "/v2/projects/{project}/metrics"
ROUTES: tuple[Route, ...] = (
    route("GET", _METRICS, _list, api="logging"),
    route("POST", _METRICS, _create, api="logging"),
    route("GET", _METRICS + "/{metric}", _get, api="logging"),
    route("PUT", _METRICS + "/{metric}", _put, api="logging"),
    route("DELETE", _METRICS + "/{metric}", _delete, api="logging"),
    route("POST", "/v2/entries:list", _entries, api="logging"),
)
