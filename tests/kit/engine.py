"""What tests that need containers ask for first."""

from __future__ import annotations

import os

import pytest

from poolhouse.local.compose import backend
from poolhouse.local.errors import StackError


def require_engine() -> None:
    """Skip the test where no Docker engine answers or an image is missing; in CI that is a failure."""
    try:
        backend.usable()
    except StackError as error:
        if os.environ.get("CI"):
            pytest.fail(f"CI needs containers: {error}")
        pytest.skip(str(error))
