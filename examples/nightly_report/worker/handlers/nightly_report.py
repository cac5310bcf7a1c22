"""The report of a day: `nightly_report` starts a `shop_sales` for each shop, and `day_report` puts them together."""

from __future__ import annotations

import io
from collections.abc import Iterator
from csv import Error as CsvError
from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from poolhouse import Payload, Reject, TaskContext, task
from poolhouse.pipeline import names
from poolhouse.pipeline.names import FileName
from poolhouse.pipeline.store import ObjectStore
from pydantic import BaseModel

from worker import report
from worker.sales import BadSales, Total, add, totals_of

#: The shops' days begin and end here; the schedule in pipeline.toml has it too.
ZONE = ZoneInfo("Europe/Berlin")


class Night(Payload):
    """What the schedule submits: nothing. A day by hand makes its report anew."""

    day: date | None = None


class ShopDay(Payload):
    """A shop's file: `uploads/sales/DAY/SHOP.csv`."""

    day: date
    shop: str


class ShopTotals(BaseModel):
    """What a shop has sold."""

    articles: dict[str, Total]


class Day(Payload):
    """The report to write. `shops` are those of the group's members, in their order."""

    day: date
    shops: tuple[str, ...]


class Report(BaseModel):
    """What the day came to."""

    day: date
    quantity: int
    revenue: Decimal
    #: By article: `GET /files/FILE?folder=processed` serves it.
    file: FileName
    #: Shops that are not in it, and why.
    missing: dict[str, str]


@task("nightly_report", queue="reports")
def nightly_report(payload: Night, ctx: TaskContext) -> str:
    """Start the report of a day, by default the one before; returns the id of the group."""
    # Not ctx.now(): a run that is late, or repeated, is about the same day.
    day = payload.day or day_before(ctx.submitted_at)
    shops = tuple(_shops(ctx.store, day))
    if not shops:
        raise Reject(f"no shop has sent its sales of {day}: uploads/sales/{day}/ is empty")
    ctx.log.info("report started", day=str(day), shops=len(shops))
    return ctx.group(
        (shop_sales.ref(ShopDay(day=day, shop=shop)) for shop in shops),
        then=day_report.ref(Day(day=day, shops=shops)),
        wait_for="ended",  # a shop whose file is broken does not hold up the report, which names it
    )


@task("shop_sales", queue="shops", timeout_s=300, reject_on=(BadSales, UnicodeDecodeError, CsvError))
def shop_sales(payload: ShopDay, ctx: TaskContext) -> ShopTotals:
    """Add one shop's file up."""
    with io.TextIOWrapper(ctx.store.open_read(_file(payload.day, payload.shop)), "utf-8-sig", newline="") as lines:
        return ShopTotals(articles=totals_of(_interruptible(lines, ctx)))


@task("day_report", queue="reports")
def day_report(payload: Day, ctx: TaskContext) -> Report:
    """Write `processed/reports/DAY.csv`, of the shops that have come."""
    totals: dict[str, Total] = {}
    missing: dict[str, str] = {}
    for shop, member in zip(payload.shops, ctx.group_results(shop_sales), strict=True):
        if member.succeeded:
            add(totals, member.result.articles)
        else:
            missing[shop] = member.reason or str(member.status)
    file = f"reports/{payload.day}.csv"
    ctx.store.put(names.processed(file), report.as_csv(totals), content_type="text/csv")
    if missing:
        ctx.log.warning("shops are missing in the report", day=str(payload.day), missing=missing)
    whole = sum(totals.values(), Total())
    return Report(day=payload.day, quantity=whole.quantity, revenue=whole.revenue, file=file, missing=missing)


def day_before(moment: datetime) -> date:
    """Return the day before, as the shops count days."""
    return moment.astimezone(ZONE).date() - timedelta(days=1)


def _file(day: date, shop: str) -> str:
    return names.upload(f"sales/{day}/{shop}.csv")


def _shops(store: ObjectStore, day: date) -> Iterator[str]:
    """Yield the shops whose files have come, in order."""
    begin, end = f"{names.UPLOADS}sales/{day}/", ".csv"
    token = None
    while True:
        page = store.list(begin, page_token=token)
        yield from (each.name[len(begin) : -len(end)] for each in page.objects if each.name.endswith(end))
        token = page.next_token
        if token is None:
            return


def _interruptible(lines: io.TextIOWrapper, ctx: TaskContext) -> Iterator[str]:
    for line in lines:
        ctx.checkpoint()
        yield line
