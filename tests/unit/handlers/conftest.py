"""Fixtures of the handlers' tests."""

from __future__ import annotations

import pytest

from tests.unit.handlers.desk import Desk


@pytest.fixture
def desk() -> Desk:
    return Desk()
