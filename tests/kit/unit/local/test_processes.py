"""A process is told from a later one that has its pid, whatever the clock does."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import psutil
import pytest

from poolhouse.local.processes.identity import ProcessId


@pytest.mark.skipif(sys.platform != "linux", reason="psutil reckons with the clock on Linux alone")
@pytest.mark.parametrize("jump_s", [-86_400, 3_600, 10 * 365 * 86_400])
def test_a_clock_that_is_set_makes_no_other_process_of_it(jump_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    me = ProcessId.of(os.getpid())
    platform: Any = vars(psutil)["_psplatform"]
    # What psutil adds start times to is the boot time, which the system reckons back from the clock of now.
    boot_time = platform.boot_time()
    monkeypatch.setattr(platform, "boot_time", lambda: boot_time + jump_s)
    assert me.alive()


def test_a_process_that_has_ended_is_not_alive_and_its_pid_is_not_its_own() -> None:
    with subprocess.Popen((sys.executable, "-c", "input()"), stdin=subprocess.PIPE) as child:
        found = ProcessId.of(child.pid)
        assert found.alive()
        assert not ProcessId(child.pid, found.started_at - 5).alive()
        child.kill()
        assert found.wait(10)
    with pytest.raises(psutil.NoSuchProcess):
        ProcessId.of(child.pid)
