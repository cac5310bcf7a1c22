"""Numbers that callers write as text."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolhouse.client import units
from poolhouse.commands.stack.logs import show_logs
from poolhouse.pipeline import numbers
from poolhouse.pipeline.config import settings
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.limits.rate import parse_rate

#: What Python reads as a number, and a caller who writes it may mean otherwise.
NO_NUMBERS = (
    "1_0",
    " 5",
    "5 ",
    "+5",
    "٣",
    "５",
    "0x1",
    "007",
    "1.",
    ".5",
    "1,5",
    "",
    "-",
    "nan",
    "inf",
    "Infinity",
    "5\n",
)


@given(st.integers(-(10**17) + 1, 10**18 - 1))
def test_whole_numbers_are_read_as_json_writes_them(value: int) -> None:
    assert numbers.whole(json.dumps(value)) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_read_as_json_writes_them(value: float) -> None:
    assert numbers.number(json.dumps(value)) == value


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_what_python_alone_reads_as_a_number_is_none(text: str) -> None:
    for read in (numbers.whole, numbers.number):
        with pytest.raises(ValueError, match=r"must be a (whole )?number$"):
            read(text)


@pytest.mark.parametrize("text", ["1.0", "1e1", "1" * 19, "9" * 5000])
def test_a_fraction_and_what_is_too_long_are_no_whole_numbers(text: str) -> None:
    with pytest.raises(ValueError, match="must be a whole number"):
        numbers.whole(text)


def test_a_number_that_is_too_large_is_infinite_for_its_bound_to_refuse() -> None:
    assert numbers.number("1e999") == math.inf


@pytest.mark.parametrize("text", [*NO_NUMBERS, "-1", "65536"])
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="from 0 to 65535"):
        numbers.port(text)


@pytest.mark.parametrize("text", [text for text in NO_NUMBERS if text])
@pytest.mark.parametrize("name", ["PUBLISH_TIMEOUT_S", "WORKER_HEALTH_PORT", "METRICS_PORT", "WORKER_GRACE_S"])
def test_variables_are_read_by_the_same_rule(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "some-project")
    monkeypatch.setenv("BUCKET_NAME", "some-bucket")
    monkeypatch.setenv(name, "5")
    assert getattr(settings.load(), name.lower()) == 5
    monkeypatch.setenv(name, text)
    with pytest.raises(ConfigError, match=name):
        settings.load()


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (units.duration, "٣s"),
        (units.duration, "1_0s"),
        (units.duration, "9" * 400 + "d"),
        (units.duration, "99999999d"),
        (units.rate, "٣/s"),
        (units.rate, "9" * 400 + "/s"),
    ],
)
def test_durations_and_rates_have_ascii_digits_and_an_end(read: Any, text: str) -> None:
    with pytest.raises(ConfigError, match="--older"):
        read(text, option="--older")


def test_a_rate_of_a_limit_has_ascii_digits() -> None:
    with pytest.raises(ConfigError, match="is no rate"):
        parse_rate("1٣/s")


@pytest.mark.parametrize("count", [0, -5])
def test_a_count_is_at_least_one(count: int) -> None:
    assert units.positive(1, option="--lines") == 1
    with pytest.raises(ConfigError, match=f"--lines {count}: at least 1"):
        units.positive(count, option="--lines")
    with pytest.raises(ConfigError, match=f"--lines {count}: at least 1"):
        show_logs(lines=count)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("0", 0),
        ("007", 7),
        ("", None),
        ("-1", None),
        ("+1", None),
        (" 1", None),
        ("1_0", None),
        ("٣", None),
        ("²", None),
    ],
)
def test_digits_are_those_of_ascii_alone(text: str, read: int | None) -> None:
    assert numbers.digits(text) == read


def test_of_more_digits_than_python_reads_there_is_no_number() -> None:
    assert numbers.digits("9" * 5_000) is None
    assert numbers.digits("1234", most=3) is None
