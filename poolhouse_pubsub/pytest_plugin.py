"""A pytest fixture, registered by the package: `pubsub_emulator`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from poolhouse_pubsub.server import EmulatorServer


@pytest.fixture(scope="session")
def pubsub_emulator_server() -> Iterator[EmulatorServer]:
    """Yield the emulator that all tests of the session share; ask for `pubsub_emulator` instead."""
    from poolhouse_pubsub.server import EmulatorServer  # noqa: PLC0415 - tests that need no emulator don't pay for it

    with EmulatorServer() as server:
        yield server


@pytest.fixture
def pubsub_emulator(pubsub_emulator_server: EmulatorServer, monkeypatch: pytest.MonkeyPatch) -> EmulatorServer:
    """Return an empty emulator, its faults cleared, and PUBSUB_EMULATOR_HOST naming it for the length of the test."""
    pubsub_emulator_server.reset()
    pubsub_emulator_server.faults.clear()
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_emulator_server.address)
    return pubsub_emulator_server
