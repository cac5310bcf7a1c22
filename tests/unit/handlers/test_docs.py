"""The examples of docs/tasks.md are true."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from poolhouse.worker.registry import load
from tests.unit.handlers.desk import Desk

PAGE = (Path(__file__).parents[3] / "docs/tasks.md").read_text(encoding="utf-8")
HANDLERS = load(["worker.handlers"])


def examples(heading: str) -> list[str]:
    """What the code blocks of that heading hold."""
    return re.findall(rf"^```{heading}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def assert_within(expected: Any, found: Any, where: str = "") -> None:
    """All that the page shows is so; the page may leave things out."""
    if isinstance(expected, dict):
        for key, value in expected.items():
            assert_within(value, found[key], f"{where}.{key}")
    else:
        assert expected == found, where


def test_examples_give_the_results_that_the_page_shows(desk: Desk) -> None:
    [source] = examples("csv orders.csv")
    desk.upload("orders.csv", source)
    desk.context.task_id = "ID"
    payloads = re.findall(r"^```json payload (\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    results = examples("json result")
    assert len(payloads) == len(results) == 2
    for (task_type, payload), result in zip(payloads, results, strict=True):
        handler = HANDLERS[task_type]
        report = handler.function(handler.parse(json.loads(payload)), desk.context)
        assert_within(json.loads(result), report.model_dump(mode="json"))
    [output] = examples("csv output")
    assert desk.read("results/data_transform_ID.csv").decode() == output


def test_every_operation_and_step_is_on_the_page() -> None:
    for task_type in HANDLERS:
        definitions = HANDLERS[task_type].payload_type.model_json_schema()["$defs"].values()
        names = {value["properties"]["name"]["const"] for value in definitions if "name" in value["properties"]}
        assert len(names) >= 6
        assert {name for name in names if f"| `{name}` |" not in PAGE} == set()


def test_every_field_is_on_the_page() -> None:
    for task_type in HANDLERS:
        fields = HANDLERS[task_type].payload_type.model_fields
        assert {name for name in fields if f"| `{name}` |" not in PAGE} == set()
