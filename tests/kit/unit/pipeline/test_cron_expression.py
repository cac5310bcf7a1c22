"""The cron dialect: what Cloud Scheduler documents, and nothing else."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from poolhouse.cloud.rehearsal.http import ApiError
from poolhouse.cloud.rehearsal.services import cloudscheduler
from poolhouse.cloud.rehearsal.state import State
from poolhouse.pipeline.config import topology
from poolhouse.pipeline.config.cron_expression import normalized
from poolhouse.pipeline.config.schedule import Schedule
from poolhouse.pipeline.errors import ConfigError
from tests.tally import Tally

REFUSED = {
    "0 0 L * *": "day of the month: Cloud Scheduler has no L. Run on 28-31",
    "0 0 LW * *": "day of the month",
    "0 0 15W * *": "day of the month",
    "0 0 ? * *": "day of the month",
    "0 0 * * 5#2": "day of the week",
    "0 0 * * 5L": "day of the week",
    "5/15 * * * *": "minute",
    "0 8/2 * * *": "hour",
    "0 0 * JAN/3 *": "month",
    "* * * * MON/2": "day of the week",
    "60 * * * *": "minute",
    "* 24 * * *": "hour",
    "* * 0 * *": "day of the month",
    "* * 32 * *": "day of the month",
    "* * * 13 *": "month",
    "* * * * 8": "day of the week",
    "30-10 * * * *": "minute",
    "* 22-2 * * *": "hour",
    "* * * * FRI-MON": "day of the week",
    "30-10/5 * * * *": "minute",
    "1-2-3 * * * *": "minute",
    "*/0 * * * *": "minute",
    "*/60 * * * *": "minute",
    "*/x * * * *": "minute",
    "*,5 * * * *": "minute",
    "*/5,7 * * * *": "minute",
    ",5 * * * *": "minute",
    "-5 * * * *": "minute",
    "1.5 * * * *": "minute",
    "٣ * * * *": "minute",
    "* * * MONDAY *": "month",
    "* * * * JAN": "day of the week",
    "~ * * * *": "minute",
    "H * * * *": "minute",
    "0 0 31 2 *": "day of the month: day 31 of month 2 never comes",
    "0 0 31 apr,6 *": "day of the month: day 31 of month APR,6 never comes",
    "0 0 */2 * MON": "crons do not agree",
    "0 0 1 * */2": "crons do not agree",
    "@daily": "Cloud Scheduler has no names for expressions: write '0 0 * * *'",
    "every 5 minutes": "a cron expression has five fields",
    "0 0 0 * * *": "a cron expression has five fields",
    "": "a cron expression has five fields",
}


@pytest.mark.parametrize(("expression", "reason"), REFUSED.items())
def test_what_cloud_scheduler_refuses_is_refused_on_a_laptop_and_in_the_rehearsal(expression: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}"):
        normalized(expression)
    with pytest.raises(ConfigError, match=r"schedules\.s\.cron"):
        topology.parse(f'[queues.a]\n[schedules.s]\ncron = "{expression}"\ntask_type = "t"')
    with pytest.raises(ApiError, match="Schedule or time zone is invalid"):
        cloudscheduler._check(State.__new__(State), {"schedule": expression})


@pytest.mark.parametrize(
    ("expression", "kept"),
    [
        ("* * * * *", "* * * * *"),
        ("*/15 */2 * * 1-5", "*/15 */2 * * 1-5"),
        ("0 9 1,15 * sat", "0 9 1,15 * SAT"),
        ("5,10-20/5,59 0 1-31/2 jan-mar,DEC 7", "5,10-20/5,59 0 1-31/2 JAN-MAR,DEC 7"),
        ("  0\t03  * * * ", "0 03 * * *"),
        ("0 0 29 2 *", "0 0 29 2 *"),
        ("0 0 */2 * *", "0 0 */2 * *"),
        ("0 0 * * */2", "0 0 * * */2"),
        ("*/1 */23 */31 * *", "*/1 */23 */31 * *"),
    ],
)
def test_what_it_documents_is_taken(expression: str, kept: str) -> None:
    assert normalized(expression) == kept
    assert Schedule(name="s", cron=expression, task_type="t").cron == kept


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("60 * * * *", r"numbers from 0 to 59 and of ranges such as 0-59/2$"),
        ("* * * MONDAY *", r"numbers from 1 to 12, names from JAN to DEC and of ranges such as 1-12/2$"),
    ],
)
def test_a_refusal_says_what_the_field_takes(expression: str, allowed: str) -> None:
    with pytest.raises(ValueError, match=allowed):
        normalized(expression)


def one_field(least: int, most: int) -> st.SearchStrategy[str]:
    """One field of an expression, mostly right."""
    number = st.integers(least, most).map(str)
    span = st.lists(st.integers(least, most), min_size=2, max_size=2).map(lambda ends: "-".join(map(str, sorted(ends))))
    step = st.tuples(st.just("*") | span, st.integers(0, most).map(str)).map("/".join)
    return st.just("*") | number | span | step | st.lists(number | span, min_size=2, max_size=3).map(",".join)


EXPRESSIONS = st.tuples(*(one_field(*ends) for ends in ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7)))).map(" ".join)
NOISE = st.lists(st.text("0123456789*/,-LW#?MONJA ", max_size=6), min_size=5, max_size=5).map(" ".join)


def test_whatever_is_taken_can_be_calculated() -> None:
    tally = Tally(ValueError)

    @settings(deadline=None, derandomize=True, database=None)
    @given(EXPRESSIONS | EXPRESSIONS | NOISE)
    def check(expression: str) -> None:
        with tally:
            kept = normalized(expression)
            assert normalized(kept) == kept
            next(CronSim(kept, datetime(2026, 1, 1, tzinfo=UTC)))

    check()
    tally.check(accepted=10, rejected=10)
