"""Sales: what a shop's file says, and sums of it. Lines in, numbers out."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

COLUMNS = ("article", "quantity", "price")


class BadSales(ValueError):
    """A shop's file is not as agreed: the text names the line."""


class Sale(BaseModel):
    """A line of a shop's file."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    article: Annotated[str, Field(min_length=1, max_length=100)]
    quantity: Annotated[int, Field(ge=1)]
    #: Of one piece.
    price: Annotated[Decimal, Field(ge=0, decimal_places=2)]


class Total(BaseModel):
    """What was sold, and for how much."""

    quantity: int = 0
    revenue: Decimal = Decimal(0)

    def __add__(self, other: Total) -> Total:
        return Total(quantity=self.quantity + other.quantity, revenue=self.revenue + other.revenue)


def totals_of(lines: Iterable[str]) -> dict[str, Total]:
    """Add a shop's file up, by article; memory does not grow with the file.

    Raises:
        BadSales: the file has other columns, or a line that is no sale.
    """
    reader = csv.DictReader(lines, restkey="a fourth column")  # `2,50` for a price is no other price, but a mistake
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise BadSales(
            f"line 1: the columns are {', '.join(reader.fieldnames or ()) or 'none'}, not {', '.join(COLUMNS)}"
        )
    totals: dict[str, Total] = {}
    for row in reader:
        try:
            sale = Sale.model_validate(row)
        except ValidationError as error:
            first = error.errors()[0]
            raise BadSales(f"line {reader.line_num}: {first['loc'][0]}: {first['msg']}") from None
        add(totals, {sale.article: Total(quantity=sale.quantity, revenue=sale.quantity * sale.price)})
    return totals


def add(totals: dict[str, Total], more: Mapping[str, Total]) -> None:
    """Add to the totals of some articles."""
    for article, total in more.items():
        totals[article] = totals.get(article, Total()) + total
