"""The e2e as `invoke e2e` runs it, on the stack of the tests."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from local.e2e import expected
from poolhouse.local.backend import Backend, Endpoints
from poolhouse.local.e2e import main
from poolhouse.local.processes import ports
from poolhouse.testing.plugin import Stack

pytestmark = pytest.mark.xdist_group("stack")


def check(backend: Backend) -> tuple[int, str]:
    output = io.StringIO()
    return main.check(backend, Console(file=output, width=200)), output.getvalue()


def test_the_whole_pipeline_gives_what_other_means_compute(poolhouse_stack: Stack) -> None:
    code, output = check(poolhouse_stack.backend)
    assert code == 0, output
    assert "all as expected" in output


def test_one_value_that_is_off_fails_the_run_and_is_named(
    poolhouse_stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = expected.table
    monkeypatch.setattr(expected, "table", lambda data: {**right(data), "rows": 1})
    code, output = check(poolhouse_stack.backend)
    assert code == 1
    assert "1 difference(s)" in output
    assert "CSV file: table.rows: 3000, expected 1" in output


def test_a_stack_that_does_not_answer_is_a_difference_too(poolhouse_stack: Stack) -> None:
    class Elsewhere:
        def endpoints(self) -> Endpoints:
            return replace(poolhouse_stack.endpoints, api_url=f"http://127.0.0.1:{ports.choose()}")

    code, output = check(Elsewhere())  # type: ignore[arg-type]
    assert code == 1
    assert "the run itself: the API does not answer" in output
