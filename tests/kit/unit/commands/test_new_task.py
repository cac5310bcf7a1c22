from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from poolhouse.commands.project import new_task
from poolhouse.pipeline.errors import ConfigError
from poolhouse.project import ROOT

README = """# It

## Task types

- [`one`](one.py): does one,
  and more.

## More

- another list
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project as far as a new task touches it."""
    for folder in ("worker/handlers", "tests/unit/handlers", "poolhouse/worker", "poolhouse/testing"):
        (tmp_path / folder).mkdir(parents=True)
    # The modules that are imported: ruff tells ours from others' by them.
    modules = (
        "worker/__init__.py",
        "poolhouse/__init__.py",
        "poolhouse/worker/__init__.py",
        "poolhouse/worker/registry.py",
        "poolhouse/testing/doubles.py",
    )
    for file in ("pipeline.toml", "pyproject.toml", *modules):
        shutil.copy(ROOT / file, tmp_path / file)
    (tmp_path / "README.md").write_text(README)
    return tmp_path


def files(project: Path) -> set[str]:
    return {str(path.relative_to(project)) for path in project.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["count", "make-report", "a_rather_long_name_of_30_chars"])
def test_what_is_written_passes_the_projects_own_checks(project: Path, name: str) -> None:
    new, written = new_task.write(name, queue="urgent", root=project)
    assert [str(path) for path in written] == [
        f"worker/handlers/{new.task_type}.py",
        f"tests/unit/handlers/test_{new.task_type}.py",
        "README.md",
    ]
    code = [str(path) for path in written[:2]]
    for check in (["check"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *check, *code]
        ended = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_handler_is_of_the_queue_and_named_in_the_readme(project: Path) -> None:
    new_task.write("make-report", queue="urgent", root=project)
    assert '@task("make_report", queue="urgent")' in (project / "worker/handlers/make_report.py").read_text()
    assert (project / "README.md").read_text() == README.replace(
        "  and more.\n", "  and more.\n- [`make_report`](worker/handlers/make_report.py): say here what it does.\n"
    )


def test_without_a_queue_the_pipelines_default_is_taken(project: Path) -> None:
    new_task.write("count", root=project)
    assert '@task("count")\n' in (project / "worker/handlers/count.py").read_text()


@pytest.mark.parametrize(
    "name",
    [
        *("", "Count", "2fast", "a b", "a/b", "../x", "über", "x__y", "a" * 31),
        *("class", "test", "test_it", "task", "task_context", "payload", "validation_error"),
    ],
)
def test_a_name_that_its_code_can_not_have_is_refused(project: Path, name: str) -> None:
    before = files(project)
    with pytest.raises(ConfigError, match="can't name a task"):
        new_task.write(name, root=project)
    assert files(project) == before


@pytest.mark.parametrize("existing", ["worker/handlers/count.py", "tests/unit/handlers/test_count.py"])
def test_a_file_that_is_there_is_not_touched(project: Path, existing: str) -> None:
    (project / existing).write_text("mine")
    before = files(project)
    with pytest.raises(ConfigError, match="is there already"):
        new_task.write("count", root=project)
    assert files(project) == before
    assert (project / existing).read_text() == "mine"


def test_a_queue_that_is_not_declared_is_refused_and_nothing_written(project: Path) -> None:
    before = files(project)
    with pytest.raises(ConfigError, match=r"'slow'.*urgent"):
        new_task.write("count", queue="slow", root=project)
    assert files(project) == before


def test_a_readme_without_such_a_list_is_left_as_it_is(project: Path) -> None:
    (project / "README.md").write_text("# Mine\n")
    _, written = new_task.write("count", root=project)
    assert Path("README.md") not in written
    assert (project / "README.md").read_text() == "# Mine\n"


def test_our_own_readme_has_the_list() -> None:
    assert new_task.with_line((ROOT / "README.md").read_text(), "- x") is not None
