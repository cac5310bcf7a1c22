"""The projects of examples/, as `poolhouse new --example` starts them: their own tests and checks pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from poolhouse.commands.project import project_files
from tests.kit.integration.testing.conftest import run

#: Every example runs on both levels of one process, and one of them on a stack, which takes longest.
RUNS = [
    *((example, level) for example in project_files.examples() for level in ("inline", "in-process")),
    ("thumbnails", "embedded"),
]


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of each example's project."""
    folder = tmp_path_factory.mktemp("examples")
    for example in project_files.examples():
        texts = project_files.render(name=example.replace("_", "-"), version="1.2.3", example=example)
        project_files.write(folder / example, texts)
    return {example: folder / example for example in project_files.examples()}


@pytest.mark.parametrize(("example", "level"), RUNS)
def test_the_tests_of_an_example_pass(python: Path, projects: dict[str, Path], example: str, level: str) -> None:
    code, output = run(python, projects[example], "pytest", "-q", "-p", "no:cacheprovider", "--backend", level)
    assert code == 0, output
    # A stack can't let a call fail or kill a worker at a step: it skips the tests of that.
    assert ("skipped" in output) == (level == "embedded")
    assert "passed" in output
    assert "failed" not in output


def test_the_examples_pass_their_own_checks(
    python: Path, projects: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    types = tmp_path_factory.mktemp("mypy")  # one for all: most of it is the kit's
    for project in projects.values():
        for check in (("ruff", "format", "--check", "."), ("ruff", "check", "."), ("mypy", "--cache-dir", types)):
            code, output = run(python, project, *check)
            assert code == 0, f"{project.name}: {output}"
