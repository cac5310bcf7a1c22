"""An instance is kept running through what passes: a disk that is full, a log that is deleted."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from poolhouse.local.backend import ServiceState
from poolhouse.local.embedded.instance import Instance
from poolhouse.local.embedded.specs import LogReady, Spec


def instance(log: Path, said: list[str]) -> Instance:
    program = "import time; print('ready', flush=True); time.sleep(600)"
    spec = Spec(service="x", command=(sys.executable, "-c", program), environment={}, readiness=LogReady("ready"))
    return Instance("x-1", spec, log, say=said.append, on_group=lambda group, made: None)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.01)


def test_it_starts_once_the_disk_has_room_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    real = Path.open

    def full(self: Path, *arguments: Any, **options: Any) -> Any:
        if self.name == "x-1.log" and "a" in "".join(map(str, arguments)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
        return real(self, *arguments, **options)

    async def run() -> None:
        one = instance(tmp_path / "x-1.log", said)
        monkeypatch.setattr(Path, "open", full)
        one.start()
        await until(lambda: one.status().restarts >= 2)
        assert one.status().state is not ServiceState.READY
        assert "No space left" in (one.status().last_exit or "")
        monkeypatch.undo()
        await until(lambda: one.ready)
        await one.stop(kill=True)

    asyncio.run(run())
    assert any("No space left" in line for line in said)


def test_it_starts_again_when_its_log_was_deleted(tmp_path: Path) -> None:
    async def run() -> None:
        one = instance(tmp_path / "logs" / "x-1.log", [])
        one.start()
        await until(lambda: one.ready)
        shutil.rmtree(tmp_path / "logs")
        one.kill()
        await until(lambda: one.ready and one.status().restarts == 1)
        await one.stop(kill=True)

    asyncio.run(run())
