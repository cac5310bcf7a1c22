"""The report as a file: the articles, best sold first."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from decimal import Decimal

from worker.sales import Total


def as_csv(totals: Mapping[str, Total]) -> bytes:
    """Return the report of some totals."""
    target = io.StringIO()
    rows = csv.writer(target, lineterminator="\n")
    rows.writerow(("article", "quantity", "revenue"))
    rows.writerows((article, total.quantity, total.revenue) for article, total in sorted(totals.items(), key=_rank))
    return target.getvalue().encode()


def _rank(entry: tuple[str, Total]) -> tuple[Decimal, str]:
    article, total = entry
    return -total.revenue, article
