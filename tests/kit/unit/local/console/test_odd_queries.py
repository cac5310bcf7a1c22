"""Whatever stands in an address of the console: a page, and never a mistake of its own."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.kit.unit.local.console.conftest import Shown

ODD = [
    "",
    "x" * 2200,
    "\x00",
    "\x1b[31m",
    "'\"><script>",
    "../../etc/passwd",
    "-1",
    "nan",
    "9" * 400,
    "%",
    "\u202e",
    "☃",
]
PATHS = [
    "/",
    "/files",
    "/files/object",
    "/files/raw",
    "/files/download",
    "/tasks",
    "/dead-letters",
    "/logs",
    "/schedules",
    "/submit",
    "/delayed",
    "/groups",
    "/limits",
    "/triggers",
]
PARAMETERS = [
    *("status", "queue", "task_type", "type", "cursor", "page_token", "limit", "page_size", "page", "q", "id", "note"),
    *(
        "service",
        "lines",
        "follow",
        "after",
        "before",
        "payload",
        "since",
        "level",
        "text",
        "name",
        "prefix",
        "parent_id",
        "group_id",
        "trigger",
        "schedule",
    ),
]


@pytest.mark.parametrize("path", PATHS)
def test_no_parameter_is_a_mistake_of_the_console(shown: Shown, path: str) -> None:
    for value in ODD:
        query = "&".join(f"{name}={quote(value)}" for name in PARAMETERS)
        answer = shown.client.get(f"{path}?{query}")
        assert answer.status_code < 500, (path, value, answer.text[:500])
        assert "<script>" not in answer.text.replace('<script src="/static/', "")


@pytest.mark.parametrize("value", ODD[1:])
def test_no_name_in_a_path_is_a_mistake_of_the_console(shown: Shown, value: str) -> None:
    name = quote(value, safe="")
    for path in (f"/tasks/{name}", f"/dead-letters/{name}", f"/submit/{name}", f"/logs/{name}", f"/{name}"):
        assert shown.client.get(path).status_code < 500, path
    for path in (
        f"/tasks/{name}/cancel",
        f"/dead-letters/{name}/replay",
        f"/schedules/{name}/pause",
        f"/submit/{name}",
    ):
        answer = shown.client.post(path, data={"payload": value}, headers={"Origin": "http://127.0.0.1:8081"})
        assert answer.status_code < 500, path
