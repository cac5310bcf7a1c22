from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from poolhouse.pipeline.index.database import Database
from poolhouse.pipeline.index.entry import Entry, micros
from poolhouse.pipeline.index.figures import STEPS, figures

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def task(
    number: int, status: str, *, submitted: float, started: float | None = None, run: float | None = None
) -> Entry:
    """A task of `submitted` seconds ago, whose only attempt began `started` seconds later and took `run`."""
    at = NOW - timedelta(seconds=submitted)
    begun = None if started is None else micros(at + timedelta(seconds=started))
    ended = None if run is None or begun is None else begun + int(run * 1e6)
    return Entry(
        f"t-{number}", "mail", "default", status, micros(at), micros(at), None, begun, begun, ended, 1, "", "", 1
    )


@pytest.fixture
def database() -> Database:
    made = Database()
    made.apply(
        [
            *(task(number, "succeeded", submitted=90, started=1, run=2) for number in range(18)),
            task(18, "dead", submitted=90, started=10, run=30),
            task(19, "failed", submitted=7200, started=1, run=7190),  # submitted before the window, ended in it
            task(20, "succeeded", submitted=9000, started=1, run=1),  # before it
            task(21, "queued", submitted=5),
            task(22, "running", submitted=5, started=1),
            task(23, "scheduled", submitted=5),
            task(24, "running", submitted=9999, started=1),
        ]
    )
    return made


def test_what_waits_runs_and_is_delayed_is_counted_whenever_it_came(database: Database) -> None:
    found = figures(database, ["default", "bulk"], now=NOW, window=HOUR)
    own, other = found.queues["default"], found.queues["bulk"]
    assert (own.waiting, own.running, own.delayed) == (1, 2, 1)
    assert (other.waiting, other.running, other.delayed, sum(other.ended), other.ends.wait) == (0, 0, 0, 0, None)


def test_what_came_and_went_lies_in_the_step_of_its_time(database: Database) -> None:
    own = figures(database, ["default"], now=NOW, window=HOUR).queues["default"]
    assert (len(own.submitted), len(own.ended), len(own.failed)) == (STEPS, STEPS, STEPS)
    assert (sum(own.submitted), sum(own.ended), sum(own.failed)) == (22, 20, 2)
    assert own.submitted[STEPS - 2] == 19
    assert (own.ended[STEPS - 2], own.failed[STEPS - 1]) == (18, 2)


def test_times_and_failures_are_those_of_the_ends(database: Database) -> None:
    ends = figures(database, [], now=NOW, window=HOUR).task_types["mail"]
    assert (ends.ended, ends.failed) == (20, 2)
    assert ends.wait is not None
    assert ends.run is not None
    assert (ends.wait.p50_s, ends.wait.p95_s) == (1, 10)
    assert (ends.run.p50_s, ends.run.p95_s) == (2, 7190)


def test_a_delayed_task_waits_from_its_time_on() -> None:
    database = Database()
    late = task(1, "succeeded", submitted=3000, started=2003, run=1)
    scheduled = late._replace(status="scheduled", due=late.submitted + 2_000_000_000, started=None, ended=None)
    database.apply([scheduled, late])
    wait = figures(database, [], now=NOW, window=HOUR).task_types["mail"].wait
    assert wait is not None
    assert wait.p50_s == 3
