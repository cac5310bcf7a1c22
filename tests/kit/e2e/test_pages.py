"""Every page with `sh` blocks, followed to the letter in a copy of the project."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from poolhouse.pipeline.config import topology
from poolhouse.project import ROOT
from tests.kit.waiting import until

#: A fenced block: its language with what is said about it, and its text.
BLOCK = re.compile(r"^```(\w+)( \w+)?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
#: Every page whose `sh` blocks hold commands of `./invoke` alone, and its blocks.
PAGES = {
    path.name: blocks
    for path in sorted((ROOT / "docs").glob("*.md"))
    for blocks in [BLOCK.findall(path.read_text(encoding="utf-8"))]
    for commands in ["".join(text for language, _, text in blocks if language == "sh").splitlines()]
    if commands and all(command.startswith("./invoke ") for command in commands)
}
_NOT_OURS = ("*.pyc", "__pycache__", ".*_cache", ".venv", ".git", ".poolhouse", ".hypothesis", "*.whl")


@pytest.mark.slow
@pytest.mark.xdist_group("stack")
@pytest.mark.parametrize("page", PAGES)
def test_a_page_works_as_written(page: str, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(ROOT, project, ignore=shutil.ignore_patterns(*_NOT_OURS))
    inherited = {
        name: value for name, value in os.environ.items() if name not in {"POOLHOUSE_STATE_DIR", "TASK_HANDLERS"}
    }

    def run(command: str, *, fails: bool | None) -> str | None:
        words = shlex.split(command, comments=True)
        assert words[0] == "./invoke", command
        # The launcher would make an environment of its own; in an active one `invoke` is the same.
        ended = subprocess.run(
            [sys.executable, "-m", "invoke", *words[1:]],
            cwd=project,
            env=inherited,
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
        if fails is None and ended.returncode != 0:
            return None
        assert (ended.returncode != 0) == bool(fails), f"{command}\n{ended.stdout}\n{ended.stderr}"
        return ended.stdout

    printed = ""
    ran = 0
    try:
        for language, note, text in PAGES[page]:
            if language == "sh":
                for command in text.splitlines():
                    if note == " soon":  # what was saved is taken over in a moment
                        until(lambda: run(command, fails=None) is not None, command)  # noqa: B023
                    else:
                        printed = run(command, fails=note == " fails") or ""
                    ran += 1
            elif language == "json":
                assert json.loads(printed) == json.loads(text)
            elif language == "toml":
                with (project / "pipeline.toml").open("a") as file:
                    file.write("\n" + text)
                declared = topology.load(project / "pipeline.toml")
                if "[schedules." in text:
                    assert f"[schedules.{declared.schedules[-1].name}]" in text
    finally:
        run("./invoke down", fails=False)
    assert ran >= 1


def test_the_page_on_the_first_task_is_among_them() -> None:
    assert {"first-task.md", "index.md", "adopting.md"} <= PAGES.keys()
