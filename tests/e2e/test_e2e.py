"""The e2e as `invoke e2e` runs it, on the stack of the tests."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from local.e2e import main
from local.pytest_plugin import Stack

pytestmark = pytest.mark.xdist_group("stack")


def test_the_whole_pipeline_gives_what_other_means_compute(poolhouse_stack: Stack) -> None:
    output = io.StringIO()
    assert main.check(poolhouse_stack.backend, Console(file=output, width=200)) == 0, output.getvalue()
