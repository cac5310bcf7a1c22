"""An emulator that runs alone, for programs of any language."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.conformance.client_programs import ClientError, Program

_ROOT = Path(__file__).parents[3]
_IN_CI = os.environ.get("CI") == "true"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HOST:PORT of an emulator that runs alone, as any project would start it."""
    port_file = tmp_path_factory.mktemp("emulator") / "port"
    command = [sys.executable, "-m", "poolhouse_pubsub", "--port", "0", "--port-file", str(port_file)]
    emulator = subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while not port_file.exists():
            assert emulator.poll() is None, "the emulator ended at once"
            assert time.monotonic() < deadline, "the emulator did not start within 30 s"
            time.sleep(0.01)
        yield f"127.0.0.1:{port_file.read_text().strip()}"
    finally:
        emulator.terminate()
        emulator.wait(10)


def ready(program: Program) -> Program:
    """The program, once it is built; skips where its tools or its registry are missing, which CI must have."""
    if program.missing:
        reason = f"{', '.join(program.missing)} not installed"
        if _IN_CI and program.always_in_ci:
            pytest.fail(f"CI must run the {program.language} program: {reason}")
        pytest.skip(reason)
    try:
        program.built()
    except ClientError as error:
        if not _IN_CI:
            pytest.skip(f"the {program.language} program can't be built here (it needs its registry at first): {error}")
        raise
    return program
