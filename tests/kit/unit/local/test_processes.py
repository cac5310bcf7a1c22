"""A process is told from a later one that has its pid, whatever the clock does."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from poolhouse.local.processes.identity import ProcessId
from poolhouse.project import ROOT


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


@pytest.mark.parametrize("name", ["a\nb", "a\n+1", "caf\udce9", "blanks \"and\" 'quotes'"])
def test_the_folder_that_a_dead_supervisor_leaves_is_removed_and_no_other(name: str, tmp_path: Path) -> None:
    """Whatever TMPDIR is called."""
    folder, other = tmp_path / name / "poolhouse-1", tmp_path / "a"
    try:
        folder.mkdir(parents=True)
    except OSError:
        pytest.skip("this file system takes no such name")
    other.mkdir()
    supervisor = "import os, sys; from pathlib import Path; from poolhouse.local.processes.reaper import Reaper\n"
    supervisor += "r = Reaper(); r.folder(Path(sys.argv[1])); print(r._process.pid); sys.stdout.flush(); os._exit(1)"
    died = subprocess.run(
        (sys.executable, "-c", supervisor, str(folder)), cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False
    )
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(int(died.stdout)).wait(60)
    assert not folder.exists()
    assert other.exists()
