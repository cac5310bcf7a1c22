"""The pipeline from the schedule to the report, on the level that `--backend` names."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from poolhouse.pipeline.tasks.records import Status
from poolhouse.testing.pipeline import Pipeline

from worker.handlers.nightly_report import ZONE, Report, day_before, day_report, nightly_report, shop_sales

BERLIN = "article,quantity,price\ntea,2,3.50\ncake,1,12.00\n"
BONN = "article,quantity,price\ntea,4,3.50\n"


def upload(pipeline: Pipeline, day: date, **files: str) -> None:
    for shop, lines in files.items():
        pipeline.upload(f"sales/{day}/{shop}.csv", lines.encode(), "text/csv")


def report_of(night: datetime, pipeline: Pipeline) -> Report:
    """Let a night come; return its report."""
    pass_through(night, pipeline)
    [join] = pipeline.assert_submitted(day_report, times=1)
    return Report.model_validate(join.result())


def pass_through(night: datetime, pipeline: Pipeline) -> None:
    pipeline.clock.advance(night + timedelta(minutes=1) - pipeline.clock.now())


@pytest.fixture
def night(pipeline: Pipeline) -> datetime:
    """When the next report is due."""
    now = pipeline.clock.now().astimezone(ZONE)
    today = now.replace(hour=4, minute=30, second=0, microsecond=0)
    return (today if today > now else today + timedelta(days=1)).astimezone(UTC)


@pytest.fixture
def day(night: datetime) -> date:
    """The day that it is about."""
    return day_before(night)


def test_every_night_the_shops_of_the_day_before_are_added_up(pipeline: Pipeline, night: datetime, day: date) -> None:
    upload(pipeline, day, berlin=BERLIN, bonn=BONN)
    upload(pipeline, day - timedelta(days=1), berlin=BERLIN)
    assert report_of(night, pipeline) == Report(
        day=day, quantity=7, revenue=Decimal("33.00"), file=f"reports/{day}.csv", missing={}
    )
    report, info = pipeline.store.get(f"processed/reports/{day}.csv")
    assert report == b"article,quantity,revenue\ntea,6,21.00\ncake,1,12.00\n"
    assert info.content_type == "text/csv"


def test_a_shop_whose_file_is_broken_is_named_and_the_others_are_in_the_report(
    pipeline: Pipeline, night: datetime, day: date
) -> None:
    upload(pipeline, day, berlin=BERLIN, bonn="article,quantity,price\ntea,four,3.50\n")
    report = report_of(night, pipeline)
    assert report.quantity == 3
    assert list(report.missing) == ["bonn"]
    assert "line 2: quantity" in report.missing["bonn"]
    [broken] = pipeline.assert_submitted(shop_sales, shop="bonn")
    assert len(broken.attempts) == 1
    pipeline.assert_dead_lettered(broken, reason="line 2: quantity")


def test_a_mended_file_is_in_the_report_that_is_made_again(pipeline: Pipeline, night: datetime, day: date) -> None:
    upload(pipeline, day, berlin=BERLIN, bonn="no sales at all")
    assert report_of(night, pipeline).missing
    upload(pipeline, day, bonn=BONN)
    pipeline.submit(nightly_report, day=day.isoformat())
    pipeline.run_until_idle()
    _, again = pipeline.assert_submitted(day_report, times=2)
    assert Report.model_validate(again.result()).missing == {}
    assert b"tea,6,21.00" in pipeline.store.get(f"processed/reports/{day}.csv")[0]


def test_a_night_without_any_sales_is_a_dead_letter(pipeline: Pipeline, night: datetime, day: date) -> None:
    pass_through(night, pipeline)
    [task] = pipeline.assert_submitted(nightly_report, times=1)
    assert task.status is Status.FAILED
    pipeline.assert_dead_lettered(task, reason=f"uploads/sales/{day}/ is empty")


def test_it_comes_to_the_same_wherever_a_worker_dies_or_a_call_fails(pipeline: Pipeline) -> None:
    for turn in pipeline.crash_points():
        with turn:
            upload(pipeline, date(2026, 1, 31), berlin=BERLIN, bonn=BONN)
            pipeline.submit(nightly_report, day="2026-01-31")
            pipeline.run_until_idle()
            assert pipeline.store.get("processed/reports/2026-01-31.csv")[0].endswith(b"tea,6,21.00\ncake,1,12.00\n")


@pytest.mark.parametrize(
    ("moment", "before"),
    [
        (datetime(2026, 3, 29, 2, 30, tzinfo=UTC), date(2026, 3, 28)),  # the night in which the clocks went forward
        (datetime(2026, 6, 30, 22, 30, tzinfo=UTC), date(2026, 6, 30)),  # it is July already in Berlin
        (datetime(2026, 1, 1, 3, 30, tzinfo=UTC), date(2025, 12, 31)),
    ],
)
def test_the_day_before_is_that_of_the_shops(moment: datetime, before: date) -> None:
    assert day_before(moment) == before
