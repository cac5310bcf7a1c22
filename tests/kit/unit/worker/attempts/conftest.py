from __future__ import annotations

import pytest

from tests.kit.unit.worker import handlers


@pytest.fixture(autouse=True)
def _fresh_event() -> None:
    handlers.go_on.clear()
