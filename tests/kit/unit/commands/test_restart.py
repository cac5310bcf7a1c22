"""What is advised where a stack does not know the code that is on disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from poolhouse.commands import restart
from poolhouse.local import state
from poolhouse.local.backend import Endpoints
from poolhouse.local.processes.identity import ProcessId

ENDPOINTS = Endpoints(api_url="http://127.0.0.1:1", pubsub_host="127.0.0.1:2", storage_url="x", project="p", bucket="b")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "worker" / "handlers"
    folder.mkdir(parents=True)
    (folder / "greet.py").write_text('@task("greet", queue="urgent")\ndef greet(): ...\n')
    (folder / "wide.py").write_text("@task(\n    name='wide_one',\n)\ndef wide(): ...\n")
    return tmp_path


def stack(state_dir: Path, *, reload: bool) -> None:
    me = ProcessId.of(os.getpid())
    found = state.StackState(
        backend="embedded", endpoints=ENDPOINTS, ready=True, supervisor=me, details={"reload": reload}
    )
    state.write(state_dir, found)


def test_a_type_that_is_on_disk_takes_a_restart_with_reload(project: Path) -> None:
    stack(project, reload=False)
    advice = restart.unknown_type("greet", root=project, state_dir=project)
    assert advice == (
        "worker/handlers/greet.py declares it, and the stack is older than that: ./invoke down && ./invoke up --reload"
    )
    assert "wide.py declares it" in restart.unknown_type("wide_one", root=project, state_dir=project)


def test_a_stack_that_reloads_is_asked_why_it_has_not(project: Path) -> None:
    stack(project, reload=True)
    assert "./invoke status shows why" in restart.unknown_type("greet", root=project, state_dir=project)
    assert not restart.command(project)


def test_nothing_is_advised_for_a_type_that_is_not_declared(project: Path) -> None:
    assert not restart.unknown_type("gre", root=project, state_dir=project)


def test_without_a_stack_it_is_brought_up(project: Path) -> None:
    assert restart.command(project) == "./invoke up --reload"
