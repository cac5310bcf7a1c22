from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from poolhouse.client import units
from poolhouse.client.units import Pace
from poolhouse.pipeline.errors import ConfigError

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("1.5h", 5400), ("3 d", 259_200), ("0s", 0)])
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert units.duration(text, option="--older") == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "5", "h", "-5m", "5w", "1h30m", "five minutes"])
def test_what_is_no_duration_is_refused_by_its_option(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--older"):
        units.duration(text, option="--older")


@pytest.mark.parametrize(("text", "per_s"), [("10/s", 10), ("30/m", 0.5), ("3600/h", 1), ("0.5 / s", 0.5)])
def test_a_rate_is_a_number_a_unit_of_time(text: str, per_s: float) -> None:
    assert units.rate(text, option="--rate") == per_s


@pytest.mark.parametrize("text", ["", "10", "0/s", "/s", "10/d", "-1/s"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--rate"):
        units.rate(text, option="--rate")


def test_a_pace_lets_no_burst_through_after_a_slow_one() -> None:
    time_s, slept = [0.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        time_s[0] += seconds

    pace = Pace(2, clock=lambda: time_s[0], sleep=sleep)
    pace.wait()
    time_s[0] += 10  # the call took long
    for _ in range(3):
        pace.wait()
    assert slept == [0.5, 0.5]


def test_no_pace_never_sleeps() -> None:
    pace = Pace(None, clock=lambda: 0.0, sleep=lambda _: pytest.fail("it slept"))
    for _ in range(100):
        pace.wait()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (89, "89 s"), (90, "2 min"), (7200, "2.0 h"), (172_800, "2 d"), (-7200, "in 2.0 h")],
)
def test_an_age_is_shown_in_its_largest_sensible_unit(seconds: float, text: str) -> None:
    assert units.age(NOW - timedelta(seconds=seconds), now=NOW) == text


def test_a_moment_without_a_zone_is_utc_and_nonsense_is_none() -> None:
    assert units.moment("2026-01-01T00:00:00") == NOW
    assert units.moment("2026-01-01T01:00:00+01:00") == NOW
    assert units.moment("") is None
    assert units.moment("soon") is None


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (2_500_000_000_000, "2.5 TB")]
)
def test_a_size_is_shown_in_its_largest_unit(count: int, text: str) -> None:
    assert units.size(count) == text
