from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from poolhouse.cloud.errors import GcloudFailed
from poolhouse.cloud.gcloud.release_tracks import ReleaseTracks
from poolhouse.cloud.log_filter import log_filter
from poolhouse.cloud.operate import FOLLOW_LINES, log_line, log_lines, status, status_text
from poolhouse.cloud.options import Options
from poolhouse.cloud.resource import Command, Read

OPTIONS = Options(project="some-project", name="shop")
CONSOLE = "https://shop-console-1.europe-west1.run.app"


def entry(number: int) -> dict[str, Any]:
    return {
        "insertId": str(number),
        "timestamp": f"2026-11-24T10:00:{number:02}Z",
        "severity": "INFO",
        "resource": {"labels": {"worker_pool_name": "shop-mail"}},
        "jsonPayload": {"message": f"line {number}", "task_id": "abc", "time": "x"},
    }


def test_a_line_has_time_severity_place_message_and_fields() -> None:
    assert log_line(entry(1)).split() == ["2026-11-24T10:00:01", "INFO", "shop-mail", "line", "1", 'task_id="abc"']
    assert log_line({"textPayload": "plain"}).strip() == "plain"


def test_the_filter_is_for_one_service_or_all_of_the_pipeline() -> None:
    assert 'labels."poolhouse"="shop"' in log_filter(OPTIONS)
    assert 'resource.labels.service_name="shop-api"' in log_filter(OPTIONS, service="shop-api")
    assert 'timestamp>="2026"' in log_filter(OPTIONS, since="2026")


class Log:
    """Cloud Logging, as gcloud reads it."""

    def __init__(self, entries: list[dict[str, Any]]) -> None:
        self.entries, self.pauses = entries, 0
        self.reads: list[str] = []

    def read(self, read: Read) -> Any:
        condition, limit, order = read.arguments[2:]
        self.reads.append(condition)
        _, _, since = condition.partition('timestamp>="')
        found = [entry for entry in self.entries if entry["timestamp"] >= since.rstrip('"')]
        if order == "--order=desc":
            found.reverse()
        return found[: int(limit.removeprefix("--limit="))]

    def follow(self, *, then: dict[int, list[dict[str, Any]]], lines: int) -> Iterator[str]:
        """The lines, while others are written in the pauses between two looks: in the first one `then[1]`."""

        def sleep(seconds: float) -> None:
            self.pauses += 1
            self.entries += then.get(self.pauses, [])

        return log_lines(self, options=OPTIONS, follow=True, lines=lines, sleep=sleep)  # type: ignore[arg-type]


class NoApi:
    """A project whose services gcloud lists, and whose API nobody can call."""

    def read_all(self, reads: Sequence[Read]) -> dict[tuple[str, ...], Any]:
        image = {"image": "repo@sha256:0123456789abcdef"}
        service = {
            "metadata": {"name": "shop-api", "labels": {"poolhouse": "shop"}},
            "spec": {"template": {"spec": {"containers": [image]}}},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        }
        console = {
            **service,
            "metadata": {"name": "shop-console", "labels": {"poolhouse": "shop"}},
            "status": {**service["status"], "url": CONSOLE},  # type: ignore[dict-item]
        }
        listed: dict[tuple[str, ...], Any] = {
            ("run", "services"): [service, console],
            ("projects", "describe"): {"projectNumber": "1"},
        }
        return {read.arguments: listed.get(read.arguments[:2]) for read in reads}

    def run(self, command: Command) -> str:
        raise GcloudFailed("auth print-identity-token", "Reauthentication failed", advice="gcloud auth login")


def test_what_runs_is_shown_even_where_the_api_can_not_be_asked() -> None:
    found = status(NoApi(), options=OPTIONS, tracks=ReleaseTracks())  # type: ignore[arg-type]
    assert (found["queues"], json.loads(json.dumps(found))) == (None, found)
    shown = status_text(found)
    assert "shop-api" in shown
    assert "yes" in shown
    assert f"console  {CONSOLE}" in shown.splitlines()
    assert "The queues are not known" in shown
    assert "gcloud auth login" in shown


def test_following_shows_each_line_once_and_asks_from_the_last_one_on() -> None:
    log = Log([entry(1), entry(2)])
    lines = log.follow(then={1: [entry(3)]}, lines=50)
    assert [next(lines).split()[4] for _ in range(3)] == ["1", "2", "3"]
    assert "timestamp" not in log.reads[0]
    assert 'timestamp>="2026-11-24T10:00:02Z"' in log.reads[1]


def test_following_leaves_out_nothing_however_much_is_written_between_two_looks() -> None:
    log = Log([entry(number) for number in range(5)])
    burst = [{**entry(5 + number % 50), "insertId": f"burst-{number}"} for number in range(3 * FOLLOW_LINES)]
    burst.sort(key=lambda item: item["timestamp"])
    lines = log.follow(then={1: burst, 2: [entry(59)]}, lines=2)
    shown = [next(lines).split()[4] for _ in range(2 + len(burst) + 1)]
    assert shown == ["3", "4", *(item["jsonPayload"]["message"].split()[1] for item in burst), "59"]
    assert log.pauses == 2  # none between full pages
