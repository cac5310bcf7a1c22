from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import watchfiles

from poolhouse.local.embedded import watch
from poolhouse.local.embedded.reload import reason
from poolhouse.local.embedded.stack import EmbeddedStack
from poolhouse.project import ROOT


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A package with a module, and a module in no package. Importing any of them fails."""
    (tmp_path / "shop" / "tasks").mkdir(parents=True)
    for file in ("shop/__init__.py", "shop/tasks/__init__.py", "shop/tasks/mail.py", "alone.py"):
        (tmp_path / file).write_text("raise RuntimeError('not to be imported')\n")
    return tmp_path


def own(found: tuple[watch.Scope, ...]) -> list[tuple[Path, bool]]:
    return [(scope.folder, scope.deep) for scope in found if not scope.folder.is_relative_to(ROOT)]


@pytest.mark.parametrize(
    ("module", "folder", "deep"),
    [("shop.tasks", "shop/tasks", True), ("shop.tasks.mail", "shop/tasks", True), ("alone", ".", False)],
)
def test_the_folder_of_a_handler_module_is_found_without_importing_it(
    project: Path, module: str, folder: str, deep: bool
) -> None:
    assert own(watch.scopes([module], search_path=[str(project)])) == [((project / folder).resolve(), deep)]


def test_a_module_that_is_not_there_and_one_in_a_watched_folder_add_nothing(project: Path) -> None:
    found = watch.scopes(["nowhere", "worker.handlers", "shop.nothing"], search_path=[str(project), str(ROOT)])
    assert {scope.folder for scope in found} == {
        ROOT / "api",
        ROOT / "worker",
        *(ROOT / "poolhouse" / part for part in ("api", "pipeline", "worker")),
    }


def test_handlers_concern_workers_and_api_and_the_apis_own_files_the_api_alone(project: Path) -> None:
    found = watch.scopes(["shop.tasks", "alone"], search_path=[str(project)])
    assert watch.concerned([ROOT / "poolhouse" / "api" / "app.py"], found) == {"api"}
    for path in (
        ROOT / "worker" / "handlers" / "x.py",
        ROOT / "poolhouse" / "pipeline" / "store.py",
        project / "shop/tasks/mail.py",
    ):
        assert watch.concerned([path], found) == {"api", "worker"}
    assert watch.concerned([project / "alone.py"], found) == {"api", "worker"}
    assert not watch.concerned([project / "shop" / "web.py", project / ".venv" / "alone.py"], found)


def test_the_reason_of_a_death_is_the_error_and_the_line_it_came_from() -> None:
    text = (
        '{"message": "worker ready"}\nTraceback (most recent call last):\n  File "/a/registry.py", line 1, in load\n'
        '  File "/a/mail.py", line 7\n    def f(:\n          ^\nSyntaxError: invalid syntax\n'
    )
    assert reason(text) == "SyntaxError: invalid syntax (/a/mail.py, line 7)"
    assert reason("worker: mail can't be imported\n") == "worker: mail can't be imported"
    assert reason('{"message": "x"}\n') == "it ended without a word"


def test_files_are_polled_where_the_system_watches_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where an editor has all of inotify's watches."""
    asked: list[bool | None] = []

    async def awatch(*folders: Path, force_polling: bool | None, **more: Any) -> AsyncIterator[set[tuple[int, str]]]:
        asked.append(force_polling)
        if not force_polling:
            raise OSError("OS file watch limit reached")
        yield {(1, str(folders[0] / "mail.py"))}

    monkeypatch.setattr(watchfiles, "awatch", awatch)
    saved, said = list[frozenset[str]](), list[str]()

    async def reload(concerned: frozenset[str]) -> None:
        saved.append(concerned)

    variables = {"TASK_HANDLERS": "worker.handlers", "PIPELINE_FILE": str(tmp_path / "pipeline.toml")}
    stack: Any = SimpleNamespace(
        _reloads=object(), _specs={"worker": SimpleNamespace(environment=variables)}, _reload=reload, _say=said.append
    )
    asyncio.run(EmbeddedStack.follow_code(stack))
    assert None in asked
    assert asked[-1] is True
    assert saved
    assert said == ["watching files failed, files are polled from now on: OS file watch limit reached"]
