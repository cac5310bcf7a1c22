"""The pipeline of these tests has handlers of its own; each test runs on both levels of one process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from poolhouse.testing.levels import Level, ServerLevel
from poolhouse.testing.plugin import neutral_environment
from tests.kit.unit.testing import handlers

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
def pipeline_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("testing") / "pipeline.toml"
    file.write_text(PIPELINE)
    return str(file)


@pytest.fixture(scope="session", params=[Level, ServerLevel], ids=["inline", "in-process"])
def pipeline_level(request: pytest.FixtureRequest) -> Iterator[Level]:
    with neutral_environment():
        level: Level = request.param()
        try:
            yield level
        finally:
            level.close()


@pytest.fixture(scope="session")
def pipeline_handlers() -> tuple[str, ...]:
    return (handlers.__name__,)


@pytest.fixture(autouse=True)
def _empty_ledger() -> None:
    handlers.ledger.clear()
    handlers.during.clear()
