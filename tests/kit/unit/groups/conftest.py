"""A pipeline with handlers of its own, on both levels of one process."""

from __future__ import annotations

import pytest

from tests.kit.unit.groups import handlers
from tests.kit.unit.levels import pipeline_file, pipeline_level

__all__ = ["pipeline_file", "pipeline_level"]

PIPELINE = """
[queues.default]
ack_deadline_s = 10
retry_min_backoff_s = 1
max_attempts = 3
"""


@pytest.fixture(scope="session")
def pipeline_text() -> str:
    return PIPELINE


@pytest.fixture(scope="session")
def pipeline_handlers() -> tuple[str, ...]:
    return (handlers.__name__,)


@pytest.fixture(autouse=True)
def _forget() -> None:
    handlers.broken.clear()
    handlers.ran.clear()
    handlers.during.clear()
