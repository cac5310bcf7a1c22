"""The commands for a deployed pipeline where something is missing: one clear message, and the right exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from poolhouse.project import ROOT

TIMEOUT_S = 120
COMMANDS = {
    "status": ("status",),
    "logs": ("logs",),
    "submit": ("submit", "sample.echo", "value=1"),
    "tasks": ("tasks",),
    "dlq": ("dlq", "list"),
    "schedule": ("schedule", "list"),
    "e2e": ("e2e",),
    "deploy": ("deploy", "--dry-run"),
    "destroy": ("destroy",),
}


def run(*words: str, project: str = "some-project", **variables: str) -> tuple[int, str]:
    done = subprocess.run(
        (sys.executable, "-m", "invoke", *words, "--project", project),
        cwd=ROOT,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_without_gcloud_every_command_says_where_it_is_to_be_had(words: tuple[str, ...], tmp_path: Path) -> None:
    code, output = run(*words, PATH=str(tmp_path))
    assert code == 1
    assert output.strip() == (
        "gcloud: not found. Install the Google Cloud CLI: https://cloud.google.com/sdk/docs/install"
    )


@pytest.mark.parametrize("words", [COMMANDS["status"], COMMANDS["submit"]], ids=["status", "submit"])
@pytest.mark.usefixtures("gcloud_program")
def test_without_a_login_gclouds_message_and_the_remedy_are_shown(words: tuple[str, ...], tmp_path: Path) -> None:
    code, output = run(*words, CLOUDSDK_CONFIG=str(tmp_path))
    assert code == 1
    assert "What to do: gcloud is not logged in" in output
    assert "Traceback" not in output


def test_a_project_id_that_can_not_be_one_is_refused_before_gcloud_is_asked() -> None:
    code, output = run("status", project="My Project")
    assert code == 2
    assert "a project id has 6 to 30 lowercase letters" in output
