"""The cases of `data_transformation`: every step on the sample tables."""

from __future__ import annotations

import csv
import gzip
import io
import json
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from local.e2e import expected
from poolhouse.local.e2e import compare
from poolhouse.local.e2e.case import Case, Check, Record, all_of, one, result, succeeded
from poolhouse.local.e2e.client import Client

#: Rows of the made-up data set.
_DATASET_ROWS = 5000
_SAMPLED_ROWS = 200
#: Files of the folder that the sample table is cut into.
PARTS = ("parts/orders-1.csv", "parts/orders-2.csv")

Rows = list[dict[str, str]]


def make_cases(run: str, files: Mapping[str, bytes], *, queues: Sequence[str]) -> list[Case]:
    """The cases; the files lie in the bucket as `RUN/NAME`."""
    orders = expected.rows(files["orders.csv"])
    events = [json.loads(line) for line in gzip.decompress(files["events.ndjson.gz"]).splitlines()]
    prices = [float(row["unit_price"]) for row in orders]
    mean, std = statistics.fmean(prices), statistics.stdev(prices)

    def case(name: str, source: str, steps: Any, wanted: Mapping[str, Any], check: Callable[[Rows], list[str]]) -> Case:
        return Case(
            name=name,
            through="/submit-data-task",
            submit=one(
                "/submit-data-task", {"source": f"{run}/{source}", "transformation": steps, "output_format": "csv"}
            ),
            check=all_of(succeeded(), result(wanted), _output(check)),
        )

    def same(wanted: Rows, *columns: str) -> Callable[[Rows], list[str]]:
        return lambda found: expected.row_differences(found, wanted, columns=columns)

    functions = {"total": "sum", "mean": "mean", "median": "median", "orders": "count"}
    by_category = {
        "name": "aggregation",
        "group_by": ["category"],
        "aggregates": {name: {"function": function, "column": "unit_price"} for name, function in functions.items()},
    }
    groups = expected.grouped(files["orders.csv"], by="category", column="unit_price")

    def grouped(found: Rows) -> list[str]:
        figures = {row["category"]: {name: float(row[name]) for name in functions} for row in found}
        if set(figures) != set(groups):
            return [f"groups {sorted(figures)}, expected {sorted(groups)}"]
        return compare.differences(figures, groups)

    def normalized(found: Rows) -> list[str]:
        lines = expected.row_differences(found, orders, columns=("order_id", "city", "note"))
        for column in ("quantity", "unit_price"):
            lines += expected.series_differences(
                _numbers(found, column), expected.normalized(files["orders.csv"], column), column
            )
        return lines

    def standardized(found: Rows) -> list[str]:
        return expected.series_differences(
            _numbers(found, "unit_price"), [(price - mean) / std for price in prices], "unit_price"
        )

    def cast(found: Rows) -> list[str]:
        lines = expected.row_differences(found, orders, columns=("placed_on", "city"))
        ids = [row["order_id"] for row in found]
        return lines + ([] if ids == [f"{float(row['order_id'])}" for row in orders] else ["order_id is no float"])

    kept = [
        row for row in orders if int(row["quantity"]) >= 6 and row["city"] in {"Oslo", "Zürich"} and row["discount"]
    ]
    firsts = list({(row["city"], row["category"]): row for row in reversed(orders)}.values())
    firsts.sort(key=lambda row: int(row["order_id"]))
    entered = Counter(event["guest"] for event in events if event["kind"] == "enter")
    busiest = sorted(entered.items(), key=lambda item: (-item[1], item[0]))

    def drawn(found: Rows) -> list[str]:
        numbers = [int(row["order_id"]) for row in found]
        if len(numbers) != _SAMPLED_ROWS or sorted(set(numbers)) != numbers:
            return [f"{len(numbers)} rows drawn, expected {_SAMPLED_ROWS} different ones in their order"]
        return expected.row_differences(found, [orders[number - 1] for number in numbers])

    return [
        case(
            "aggregate a CSV file",
            "orders.csv",
            by_category,
            {"rows_in": len(orders), "rows_out": len(groups), "transformations": ["aggregation"]},
            grouped,
        ),
        Case(
            name="normalize a CSV file",
            through="/tasks",
            submit=one(
                "/tasks",
                {
                    "task_type": "data_transformation",
                    "queue": queues[-1],
                    "payload": {
                        "source": f"{run}/orders.csv",
                        "transformation": [{"name": "normalize", "columns": ["quantity", "unit_price"]}],
                    },
                },
            ),
            check=all_of(
                succeeded(),
                result(
                    {
                        "rows_out": len(orders),
                        "statistics": {
                            "before": {
                                "unit_price": {"min": min(prices), "max": max(prices), "mean": mean, "std": std}
                            },
                            "after": {"unit_price": {"min": 0.0, "max": 1.0, "nulls": 0}},
                        },
                    }
                ),
                _output(normalized),
            ),
        ),
        case(
            "standardize a folder of CSV files",
            "parts/",
            {"name": "standardize", "columns": ["unit_price"]},
            {"inputs": [f"uploads/{run}/{part}" for part in PARTS], "rows_out": len(orders)},
            standardized,
        ),
        case(
            "filter a CSV file",
            "orders.csv",
            {"name": "filter", "where": "quantity >= 6 and city in ('Oslo', 'Zürich') and discount is not null"},
            {"rows_out": len(kept)},
            same(kept),
        ),
        case(
            "deduplicate and sort a CSV file",
            "orders.csv",
            [
                {"name": "deduplicate", "columns": ["city", "category"]},
                {"name": "sort", "by": ["unit_price"], "descending": True},
            ],
            {"rows_out": len(firsts), "transformations": ["deduplicate", "sort"]},
            same(sorted(firsts, key=lambda row: float(row["unit_price"]), reverse=True)),
        ),
        case(
            "sample a CSV file",
            "orders.csv",
            {"name": "sample", "rows": _SAMPLED_ROWS, "seed": 7},
            {"rows_out": _SAMPLED_ROWS},
            drawn,
        ),
        case(
            "cast a CSV file",
            "orders.csv",
            {"name": "cast", "columns": {"order_id": "float64", "placed_on": "date"}},
            {
                "statistics": {
                    "before": {"placed_on": {"type": "string"}},
                    "after": {"placed_on": {"type": "date", "min": min(row["placed_on"] for row in orders)}},
                }
            },
            cast,
        ),
        case(
            "a chain over gzipped NDJSON",
            "events.ndjson.gz",
            [
                {"name": "filter", "where": "kind = 'enter'"},
                {"name": "aggregation", "group_by": ["guest"], "aggregates": {"times": {"function": "count"}}},
                {"name": "sort", "by": ["times"], "descending": True},
            ],
            {"rows_in": len(events), "rows_out": len(entered)},
            same([{"guest": str(guest), "times": str(times)} for guest, times in busiest]),
        ),
        Case(
            name="made-up data set, twice",
            through="/submit-data-task",
            submit=_twice,
            check=all_of(succeeded(), result({"generated": True, "rows_in": _DATASET_ROWS}), _check_made_up),
        ),
    ]


def _twice(client: Client) -> list[str]:
    body = {"dataset_size": _DATASET_ROWS, "transformation": "normalize"}
    return [client.submit("/submit-data-task", body)["task_id"] for _ in range(2)]


def _check_made_up(client: Client, records: Sequence[Record]) -> list[str]:
    first, second = (_rows(client, record) for record in records)
    lines = [] if first == second else ["the same data set, made twice, is not the same"]
    if len(first) != _DATASET_ROWS:
        lines.append(f"{len(first)} rows, expected {_DATASET_ROWS}")
    # The values are not known here; what normalising makes of any values is.
    for column in ("value", "score", "quantity"):
        numbers = _numbers(first, column)
        if (min(numbers), max(numbers)) != (0.0, 1.0):
            lines.append(f"{column} runs from {min(numbers)} to {max(numbers)}, expected 0 to 1")
        if len(set(numbers)) < 50:
            lines.append(f"{column} has only {len(set(numbers))} different values")
    return lines


def _output(check: Callable[[Rows], list[str]]) -> Check:
    """A check of the rows that the one task wrote."""
    return lambda client, records: check(_rows(client, records[0]))


def _rows(client: Client, record: Record) -> Rows:
    data = client.download(client.result(record["task_id"])["output_object"])
    return list(csv.DictReader(io.StringIO(data.decode(), newline="")))


def _numbers(rows: Rows, column: str) -> list[float]:
    return [float(row[column]) for row in rows]
