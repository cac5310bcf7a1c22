"""The Python task systems that speak Pub/Sub, unmodified, against the emulator."""

from __future__ import annotations

import json

import pytest

from tests.kit.conformance.client_programs import TASK_SYSTEMS
from tests.kit.conformance.conftest import ready

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", TASK_SYSTEMS)
def test_every_task_runs_once(name: str, address: str) -> None:
    # The last line is the report: Celery's deprecation warnings and dramatiq's log go elsewhere.
    output = ready(TASK_SYSTEMS[name]).run("r1", address=address, project="conformance")
    report = json.loads(output.splitlines()[-1])
    assert report.pop("in_time")
    assert report.pop("done") == list(range(20))
    assert report == ({"attempts": 3} if name == "celery" else {})
