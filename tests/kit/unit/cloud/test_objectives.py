"""Metrics out of log lines, and the alerts on what is promised: they name each other, and fields that are logged."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from structlog.testing import capture_logs

from poolhouse.cloud.plan.planner import decide
from poolhouse.cloud.resource import Resource
from poolhouse.pipeline.metrics.definitions import CATALOGUE, Metric
from tests.kit.unit.cloud.conftest import Make
from tests.kit.unit.cloud.test_catalogue import by_id
from tests.kit.unit.telemetry.queries import grouped_by, selectors
from tests.kit.unit.worker.conftest import Engine, engine

__all__ = ["engine"]

LOGGED = [metric for metric in CATALOGUE if metric.log is not None]


def queries(resource: Resource) -> list[str]:
    """The PromQL of an alert policy or of a dashboard."""
    (text,) = resource.create[0].files.values()
    found: list[str] = []
    json.loads(text, object_hook=lambda each: found.extend(filter(None, map(each.get, ("query", "prometheusQuery")))))
    return found


def metric_of(resource: Resource) -> dict[str, Any]:
    return dict(json.loads(resource.create[0].files["metric.json"]))


@pytest.mark.parametrize(("workers", "kind"), [("pool", "cloud_run_worker_pool"), ("job", "cloud_run_job")])
def test_charts_and_alerts_ask_for_metrics_that_the_deploy_makes(make: Make, workers: str, kind: str) -> None:
    resources = make(workers=workers)
    made = {
        item.name.replace("-", "_"): {*metric_of(item)["labelExtractors"], "le", "monitored_resource"}
        for item in resources
        if item.kind == "metric" and "labelExtractors" in metric_of(item)
    }
    assert set(made) == {"shop_attempt_duration", "shop_task_wait"}
    burning = [item for item in resources if item.kind == "alert" and item.name.endswith("-burn")]
    asked = [query for item in (*burning, by_id(resources, "dashboard/shop-pipeline")) for query in queries(item)]
    assert len(asked) == len(burning) + 4 == 8
    for query in asked:
        for series, matched in selectors(query).items():
            name = re.fullmatch(r"logging_googleapis_com:user_(\w+)_(bucket|count)", series)
            assert name is not None
            assert matched <= made[name[1]]
            assert grouped_by(query) <= made[name[1]]
        assert f'monitored_resource="{kind}"' in query


def test_alerts_come_after_the_metrics_that_they_name(make: Make) -> None:
    alert = by_id(make(), "alert/shop-wait-fast-burn")
    assert set(alert.after) == {"metric/shop-attempt-duration", "metric/shop-task-wait"}


def test_a_fast_burn_is_critical_and_a_slow_one_a_warning(make: Make) -> None:
    resources = make()
    severities = {
        name: json.loads(by_id(resources, f"alert/shop-{name}-burn").create[0].files["policy.json"])["severity"]
        for name in ("success-fast", "success-slow")
    }
    assert severities == {"success-fast": "CRITICAL", "success-slow": "WARNING"}


@pytest.mark.parametrize("definition", LOGGED, ids=lambda metric: metric.name)
def test_the_lines_that_a_metric_is_made_of_are_logged_with_its_value_and_labels(
    make: Make, engine: Engine, definition: Metric
) -> None:
    assert definition.log is not None
    with capture_logs() as lines:
        engine.attempts.process(engine.task("echo", "t-1"))
    (line,) = [line for line in lines if line["event"] == definition.log.message]
    assert line[definition.log.value] >= 0
    assert set(definition.labels) <= set(line)
    name = definition.name.removeprefix("poolhouse.").replace(".", "-")
    made = metric_of(by_id(make(), f"metric/shop-{name}"))
    assert made["valueExtractor"] == f"EXTRACT(jsonPayload.{definition.log.value})"
    assert made["bucketOptions"] == {"explicitBuckets": {"bounds": list(definition.bounds)}}


def test_a_query_or_a_bucket_that_was_changed_by_hand_is_put_back(make: Make) -> None:
    resources = make()
    alert = by_id(resources, "alert/shop-wait-slow-burn")
    policy = json.loads(alert.create[0].files["policy.json"])
    assert decide(alert, [policy]).verb == "unchanged"
    policy["conditions"][0]["conditionPrometheusQueryLanguage"]["query"] = "vector(0)"
    assert decide(alert, [policy]).verb == "update"
    metric = by_id(resources, "metric/shop-task-wait")
    there = {**metric_of(metric), "name": "shop-task-wait"}
    assert decide(metric, [there]).verb == "unchanged"
    there["bucketOptions"]["explicitBuckets"]["bounds"].pop()
    assert decide(metric, [there]).verb == "update"


def test_alerts_follow_the_workers_from_pools_to_jobs(make: Make) -> None:
    policies = [
        json.loads(item.create[0].files["policy.json"]) for item in make(workers="pool") if item.kind == "alert"
    ]
    updated = {
        item.name for item in make(workers="job") if item.kind == "alert" and decide(item, policies).verb == "update"
    }
    assert updated == {f"shop-{which}-burn" for which in ("success-fast", "success-slow", "wait-fast", "wait-slow")}
