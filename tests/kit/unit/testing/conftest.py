"""The pipeline of these tests has handlers of its own; each test runs on both levels of one process."""

from __future__ import annotations

import pytest

from tests.kit.unit.levels import pipeline_file, pipeline_level
from tests.kit.unit.testing import handlers

__all__ = ["pipeline_file", "pipeline_level"]

PIPELINE = """
[queues.urgent]
ack_deadline_s = 10
retry_min_backoff_s = 1
[queues.default]
ack_deadline_s = 20
retry_min_backoff_s = 2
max_attempts = 3
[payloads]
inline_bytes = 1000
[schedules.hourly]
cron = "0 * * * *"
task_type = "greet"
payload = { name = "hour" }
[schedules.of-another-handler]
cron = "30 * * * *"
task_type = "not_in_this_test"
"""


@pytest.fixture(scope="session")
def pipeline_text() -> str:
    return PIPELINE


@pytest.fixture(scope="session")
def pipeline_handlers() -> tuple[str, ...]:
    return (handlers.__name__,)


@pytest.fixture(autouse=True)
def _empty_ledger() -> None:
    handlers.ledger.clear()
    handlers.during.clear()
