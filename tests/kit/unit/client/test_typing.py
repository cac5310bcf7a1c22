"""Payloads and results are typed, as mypy and pyright see them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from poolhouse.project import ROOT

SAMPLE = Path(__file__).with_name("typed_calls.py")
#: By line, the type that is revealed there, or `error`.
EXPECTED = {
    number: found[1].strip()
    for number, line in enumerate(SAMPLE.read_text().splitlines(), 1)
    if (found := re.search(r"  # (\S.*)$", line)) and line.startswith(" ")
}


def plain(revealed: str) -> str:
    """A type without the modules of its parts."""
    return re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", revealed)


def test_the_sample_expects_something() -> None:
    assert list(EXPECTED.values()).count("error") == 5
    assert len(EXPECTED) >= 17


@pytest.mark.slow
def test_mypy_sees_the_types(tmp_path: Path) -> None:
    # A module of nobody's, which is held to all the rules.
    sample = shutil.copy(SAMPLE, tmp_path)
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache"), "--no-error-summary", sample]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    seen: dict[int, str] = {}
    for line in done.stdout.splitlines():
        found = re.match(r'.*typed_calls\.py:(\d+): (?:(error)|note: Revealed type is "(.*)")', line)
        if found:
            seen[int(found[1])] = found[2] or plain(found[3])
    assert seen == EXPECTED, done.stdout


@pytest.mark.slow
def test_pyright_sees_the_types(tmp_path: Path) -> None:
    shutil.copy(SAMPLE, tmp_path)
    settings = {"include": ["."], "extraPaths": [str(ROOT)], "pythonVersion": "3.11"}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    seen: dict[int, str] = {}
    for said in json.loads(done.stdout)["generalDiagnostics"]:
        line, message = said["range"]["start"]["line"] + 1, said["message"]
        found = re.match(r'Type of .* is "(.*)"', message, re.DOTALL)
        seen[line] = plain(found[1]) if found else said["severity"]
    assert seen == EXPECTED, done.stdout
