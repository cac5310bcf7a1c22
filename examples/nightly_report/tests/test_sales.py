"""Sums and the report's file, without a pipeline."""

from __future__ import annotations

from decimal import Decimal

import pytest

from worker.report import as_csv
from worker.sales import BadSales, Total, add, totals_of

HEAD = "article,quantity,price\n"


def total(quantity: int, revenue: str) -> Total:
    return Total(quantity=quantity, revenue=Decimal(revenue))


def test_sales_of_an_article_are_added_up_to_the_cent() -> None:
    lines = [HEAD, "tea,3,0.10\n", "cake,1,2.50\n", "tea,7,0.10\n"]
    assert totals_of(lines) == {"tea": total(10, "1.00"), "cake": total(1, "2.50")}


def test_a_day_without_sales_is_empty() -> None:
    assert totals_of([HEAD]) == {}


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([], "line 1: the columns are none, not article, quantity, price"),
        (["article,price\n"], "line 1: the columns are article, price"),
        ([HEAD, "tea,1,2.50\n", "tea,one,2.50\n"], "line 3: quantity: Input should be a valid integer"),
        ([HEAD, "tea,0,2.50\n"], "line 2: quantity: Input should be greater than or equal to 1"),
        ([HEAD, "tea,1,2.555\n"], "line 2: price: Decimal input should have no more than 2 decimal places"),
        ([HEAD, "tea,1,2,50\n"], "line 2: a fourth column: "),
        ([HEAD, ",1,2.50\n"], "line 2: article: String should have at least 1 character"),
        ([HEAD, "tea,1\n"], "line 2: price: "),
    ],
)
def test_a_line_that_is_no_sale_is_named(lines: list[str], problem: str) -> None:
    with pytest.raises(BadSales, match=problem):
        totals_of(lines)


def test_the_report_has_the_best_sold_first() -> None:
    totals: dict[str, Total] = {}
    for part in (
        {"tea": total(2, "7.00")},
        {"cake": total(4, "10.00"), "tea": total(1, "3.50")},
        {"bun": total(5, "10.00")},
    ):
        add(totals, part)
    assert as_csv(totals).decode().splitlines() == [
        "article,quantity,revenue",
        "tea,3,10.50",
        "bun,5,10.00",
        "cake,4,10.00",
    ]
