"""Dashboard and alerts name metrics and labels that exist, in queries that parse, in a form that Grafana reads."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog import encoder, plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from poolhouse.commands.export import command, grafana, prometheus_rules
from poolhouse.pipeline.config.topology import Topology, parse
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.metrics.burn_rates import LEAST_TASKS, burn_rates
from poolhouse.pipeline.metrics.definitions import CATALOGUE, TASK_BOUNDS_S
from poolhouse.pipeline.metrics.panels import LOGGED, PANELS
from poolhouse.pipeline.metrics.promql import CloudNames, PrometheusNames, bound
from tests.kit.unit.telemetry.queries import grouped_by, prometheus_series, selectors

TOPOLOGY = """
name = "shop"
[queues.urgent.slo]
success = 0.999
wait_s = 0.25
[queues.default]
[queues.bulk]
"""


@pytest.fixture
def topology() -> Topology:
    return parse(TOPOLOGY)


def rules(topology: Topology) -> list[dict[str, Any]]:
    [group] = yaml.safe_load(prometheus_rules.rules(topology))["groups"]
    return list(group["rules"])


def check_names(query: str) -> set[str]:
    """Check that a query for Prometheus names what exists; the metrics that it takes."""
    metrics = set()
    for series, matched in selectors(query).items():
        metric = prometheus_series()[series]
        assert matched <= {*metric.labels, "job", "le"}, query
        metrics.add(metric.name)
    known = {label for metric in CATALOGUE if metric.name in metrics for label in metric.labels}
    assert grouped_by(query) <= {*known, "job", "le"}, query
    return metrics


def test_every_metric_is_on_the_dashboard_and_no_other(topology: Topology) -> None:
    shown = set()
    for panel in json.loads(grafana.dashboard(topology))["panels"]:
        [target] = panel["targets"]
        shown |= check_names(target["expr"])
        labels = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        assert labels
        assert labels <= grouped_by(target["expr"])
    assert shown == {metric.name for metric in CATALOGUE}


def test_a_chart_names_the_metrics_that_its_query_takes() -> None:
    for panel in PANELS:
        assert check_names(panel.query(PrometheusNames())) == {metric.name for metric in panel.metrics}


def test_grafana_knows_every_field_of_the_dashboard(topology: Topology) -> None:
    plugins.register_default_plugins()
    body = json.loads(grafana.dashboard(topology))
    read = json.loads(encoder.JSONEncoder(sort_keys=True).encode(Dashboard.from_json(body)))
    assert _without(read, body) == []


def _without(read: Any, written: Any, path: str = "") -> list[str]:
    """The places of what was written and is not read."""
    if isinstance(written, dict):
        missing = [f"{path}.{key}" for key in written if key not in read]
        return missing + [
            place for key in written if key in read for place in _without(read[key], written[key], f"{path}.{key}")
        ]
    if isinstance(written, list) and len(read) == len(written):
        return [
            place for index, each in enumerate(written) for place in _without(read[index], each, f"{path}[{index}]")
        ]
    return [] if read == written else [f"{path}: {written!r} is read as {read!r}"]


def test_charts_of_one_dashboard_do_not_overlap(topology: Topology) -> None:
    panels = json.loads(grafana.dashboard(topology))["panels"]
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < 24
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_the_rules_of_the_objectives_name_what_exists(topology: Topology) -> None:
    found = rules(topology)
    assert [rule["alert"] for rule in found] == [
        "PoolhouseSuccessFastBurn",
        "PoolhouseWaitFastBurn",
        "PoolhouseSuccessSlowBurn",
        "PoolhouseWaitSlowBurn",
    ]
    for rule in found:
        assert check_names(rule["expr"]) in ({"poolhouse.attempt.duration"}, {"poolhouse.task.wait"})
        assert "queue" in grouped_by(rule["expr"])


def test_each_queue_is_held_to_its_own_objective(topology: Topology) -> None:
    success, wait, *_ = (rule["expr"] for rule in rules(topology))
    assert '{queue=~"urgent",outcome=~"failed|dead"}[1h]' in success
    assert '{queue=~"default|bulk",outcome=~"failed|dead"}[5m]' in success
    assert set(re.findall(r"> ([\d.]+)", success)) == {"0.0144", "0.144"}
    assert '{queue=~"urgent",le=~"0\\\\.25"}[1h]' in wait
    assert '{queue=~"default|bulk",le=~"900(\\\\.0)?"}[1h]' in wait
    assert success.count(f">= {LEAST_TASKS}") == 2


@pytest.mark.parametrize("seconds", TASK_BOUNDS_S)
def test_a_bucket_is_found_by_either_way_to_write_its_bound(seconds: float) -> None:
    pattern = bound(seconds).replace("\\\\", "\\")
    assert re.fullmatch(pattern, str(seconds))
    assert re.fullmatch(pattern, f"{seconds:g}")
    assert [each for each in TASK_BOUNDS_S if re.fullmatch(pattern, str(each))] == [seconds]


def test_cloud_monitoring_is_asked_for_metrics_of_log_lines_alone(topology: Topology) -> None:
    names = CloudNames(prefix="shop-pr-1", resource="cloud_run_worker_pool")
    queries = [panel.query(names) for panel in LOGGED] + [rate.query for rate in burn_rates(topology.queues, names)]
    assert len(queries) == 8
    for query in queries:
        for series, matched in selectors(query).items():
            assert re.fullmatch(
                r"logging_googleapis_com:user_shop_pr_1_(attempt_duration|task_wait)_(bucket|count)", series
            )
            assert "monitored_resource" in matched
        assert "job" not in grouped_by(query)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("wait_s = 7", r"queues\.default\.slo\.wait_s: waits are counted by these bounds: 0\.01, .*14400"),
        ("success = 0.5", r":3: queues\.default\.slo\.success"),
        ("wait = 1.0", r":3: queues\.default\.slo\.wait"),
        ("sucess = 0.99", r"unknown field \(allowed: success, wait, wait_s\)"),
    ],
)
def test_an_objective_that_can_not_be_watched_is_refused_with_its_line(field: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(f"[queues.default]\n[queues.default.slo]\n{field}\n")


def test_an_export_goes_to_standard_output_or_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pipeline.toml").write_text(TOPOLOGY, encoding="utf-8")
    monkeypatch.setenv("PIPELINE_FILE", str(tmp_path / "pipeline.toml"))
    assert command.run(what="grafana", stage="", file="") == 0
    printed = capsys.readouterr().out
    assert json.loads(printed)["title"] == "shop: tasks"
    assert command.run(what="grafana", stage="", file=str(tmp_path / "out.json")) == 0
    assert (tmp_path / "out.json").read_text(encoding="utf-8") == printed


def test_a_wrong_export_names_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError,
        match=r"no export 'grafna' \(exports: grafana, prometheus-rules, sbom, terraform\)\. Did you mean 'grafana'",
    ):
        command.run(what="grafna", stage="", file="")
    with pytest.raises(ConfigError, match="No such file or directory"):
        command.run(what="grafana", stage="", file=str(tmp_path / "nowhere" / "out.json"))
