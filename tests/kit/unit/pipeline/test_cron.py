from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poolhouse.pipeline.config.schedule import Schedule
from poolhouse.pipeline.timing.cron import latest_due, next_due


def schedule(cron: str, zone: str = "Etc/UTC") -> Schedule:
    return Schedule(name="s", cron=cron, time_zone=zone, task_type="t")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def all_due(plan: Schedule, start: str, end: str) -> list[str]:
    found, at = [], utc(start)
    while (at := next_due(plan, after=at)) is not None and at <= utc(end):  # type: ignore[assignment]
        found.append(at.strftime("%d %H:%M"))
    return found


def test_the_expression_is_read_in_the_schedules_zone() -> None:
    assert next_due(schedule("30 3 * * *", "Asia/Tokyo"), after=utc("2026-06-01T00:00")) == utc("2026-06-01T18:30")
    assert next_due(schedule("30 3 * * *", "America/New_York"), after=utc("2026-06-01T00:00")) == utc(
        "2026-06-01T07:30"
    )


def test_a_due_instant_is_not_after_itself() -> None:
    plan = schedule("*/5 * * * *")
    assert next_due(plan, after=utc("2026-06-01T00:05")) == utc("2026-06-01T00:10")
    assert next_due(plan, after=utc("2026-06-01T00:04:59.999999")) == utc("2026-06-01T00:05")


def test_a_run_whose_time_the_clock_skips_is_made_right_after_the_gap() -> None:
    # Berlin, 29 March 2026: 01:59 CET (00:59 UTC) is followed by 03:00 CEST (01:00 UTC).
    assert all_due(schedule("30 2 * * *", "Europe/Berlin"), "2026-03-28T00:00", "2026-03-30T12:00") == [
        "28 01:30",
        "29 01:00",
        "30 00:30",
    ]


def test_a_run_in_the_hour_that_comes_twice_is_made_once() -> None:
    # Berlin, 25 October 2026: 02:59 CEST (00:59 UTC) is followed by 02:00 CET (01:00 UTC).
    assert all_due(schedule("30 2 * * *", "Europe/Berlin"), "2026-10-24T12:00", "2026-10-26T12:00") == [
        "25 00:30",
        "26 01:30",
    ]


@pytest.mark.parametrize("start", ["2026-10-25T00:40", "2026-10-25T01:10", "2026-10-25T01:29:59"])
def test_a_scheduler_that_starts_in_the_second_of_the_two_hours_does_not_make_the_run_again(start: str) -> None:
    assert next_due(schedule("30 2 * * *", "Europe/Berlin"), after=utc(start)) == utc("2026-10-26T01:30")


def test_a_run_of_every_hour_is_made_every_hour_of_the_days_with_23_and_25() -> None:
    plan = schedule("0 * * * *", "Europe/Berlin")
    assert len(all_due(plan, "2026-03-28T22:59", "2026-03-29T21:59")) == 23
    assert len(all_due(plan, "2026-10-24T21:59", "2026-10-25T22:59")) == 25


def test_half_hour_clock_changes_are_followed() -> None:
    # Lord Howe Island, 4 October 2026: 02:00 (15:30 UTC) becomes 02:30.
    assert all_due(schedule("15 2 * * *", "Australia/Lord_Howe"), "2026-10-02T20:00", "2026-10-04T20:00") == [
        "03 15:30",
        "04 15:15",
    ]


def test_the_latest_of_several_due_instants_is_found() -> None:
    plan = schedule("*/10 * * * *")
    assert latest_due(plan, after=utc("2026-01-01T00:00"), until=utc("2026-06-01T12:34")) == utc("2026-06-01T12:30")
    assert latest_due(plan, after=utc("2026-06-01T12:30"), until=utc("2026-06-01T12:39")) is None
    assert latest_due(plan, after=utc("2026-06-01T12:30"), until=utc("2026-06-01T12:40")) == utc("2026-06-01T12:40")


def test_the_latest_leap_day_is_found_across_years() -> None:
    plan = schedule("0 0 29 2 *")
    assert latest_due(plan, after=utc("2020-01-01T00:00"), until=utc("2027-12-31T00:00")) == utc("2024-02-29T00:00")


CRONS = ("30 2 * * *", "*/20 * * * *", "0 * * * *", "15 2,3 * * *", "0 3 * * MON", "45 1 25 * *", "5 0-4/2 * * *")
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Etc/UTC")
INSTANTS = st.integers(0, 3 * 366 * 24 * 60).map(lambda minutes: utc("2025-01-01T00:00") + timedelta(minutes=minutes))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(CRONS), st.sampled_from(ZONES), INSTANTS, st.integers(1, 48 * 60))
def test_the_due_instants_are_the_same_wherever_one_starts_to_count(
    cron: str, zone: str, start: datetime, minutes: int
) -> None:
    plan, end = schedule(cron, zone), start + timedelta(minutes=minutes)
    counted = []
    at = start
    while (following := next_due(plan, after=at)) is not None and following <= end:
        assert following > at
        counted.append(following)
        at = following
    assert latest_due(plan, after=start, until=end) == (counted[-1] if counted else None)
    # From the end on, as a scheduler that was started just now: what it finds next is what the first one finds next.
    assert next_due(plan, after=end) == next_due(plan, after=at)
