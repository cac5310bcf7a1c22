"""The checks for a deployed system, on a local one: the calls are the same, only the token is missing."""

from __future__ import annotations

import pytest

from poolhouse.client.client import Client
from poolhouse.client.errors import ApiError
from poolhouse.cloud.e2e import run
from poolhouse.testing.plugin import Stack


def test_every_check_holds_on_a_sound_system(poolhouse_stack: Stack) -> None:
    lines: list[str] = []
    with Client(poolhouse_stack.endpoints.api_url) as api:
        good = run(api, prefix="e2e-one", timeout_s=60, say=lines.append)
    assert good, "\n".join(lines)
    assert len(lines) == 9


def test_a_system_that_does_not_answer_fails_every_check(unused_port: int) -> None:
    lines: list[str] = []
    with Client(f"http://127.0.0.1:{unused_port}") as api:
        assert not run(api, prefix="e2e-two", say=lines.append)
    assert all(line.startswith("FAILED") for line in lines)


def test_an_error_has_the_apis_own_message(poolhouse_stack: Stack) -> None:
    with (
        Client(poolhouse_stack.endpoints.api_url) as api,
        pytest.raises(ApiError, match="unknown task type 'unheard-of'"),
    ):
        api.post("/tasks", {"task_type": "unheard-of"})
