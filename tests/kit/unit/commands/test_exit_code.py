"""Exit codes where the output can't be written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
from poolhouse.commands.exit_code import exit_code
sys.exit(exit_code(lambda: print("one line, which stays in the buffer until the end") or 0))
"""


def ended(stdout: int | None, *, shell: str = 'exec "$@"') -> tuple[int, str]:
    """Run a command with that output; its exit code and what it says of it."""
    command = ["sh", "-c", shell, "sh", sys.executable, "-c", SCRIPT]
    process = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    return process.returncode, process.stderr


def test_a_reader_that_has_enough_ends_a_command_without_a_word() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert ended(writing) == (1, "")
    finally:
        os.close(writing)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_told_once() -> None:
    with open("/dev/full", "wb") as full:
        assert ended(full.fileno()) == (1, "No space left on device\n")


def test_closed_output_is_none_that_fails() -> None:
    assert ended(None, shell='exec "$@" >&-') == (0, "")
