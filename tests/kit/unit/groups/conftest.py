"""A pipeline with handlers of its own, on both levels of one process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from poolhouse.testing.levels import Level, ServerLevel
from poolhouse.testing.plugin import neutral_environment
from tests.kit.unit.groups import handlers

PIPELINE = """
[queues.default]
ack_deadline_s = 10
retry_min_backoff_s = 1
max_attempts = 3
"""


@pytest.fixture(scope="session")
def pipeline_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("groups") / "pipeline.toml"
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
def _forget() -> None:
    handlers.broken.clear()
    handlers.ran.clear()
    handlers.during.clear()
