"""`python -m poolhouse.local.setup`, as a Compose stack runs it."""

from __future__ import annotations

import os
import subprocess
import sys

from poolhouse.local.processes import ports
from poolhouse.project import ROOT


def _setup(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "poolhouse.local.setup", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_it_makes_the_topology_once(poolhouse_environment: dict[str, str]) -> None:
    first, second = _setup("--wait", "20", **poolhouse_environment), _setup(**poolhouse_environment)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert first.stdout.startswith("created 1"), first.stdout
    assert second.stdout == "created 0, updated 0\n"


def test_a_server_that_does_not_answer_is_named(poolhouse_environment: dict[str, str]) -> None:
    nowhere = f"127.0.0.1:{ports.choose()}"
    done = _setup("--wait", "0.2", **{**poolhouse_environment, "PUBSUB_EMULATOR_HOST": nowhere})
    assert (done.returncode, done.stderr) == (1, f"{nowhere} does not answer\n")
