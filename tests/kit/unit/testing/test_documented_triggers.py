"""The example of docs/triggers.md: its trigger, its handler and its test."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

import pytest

from poolhouse.project import ROOT
from poolhouse.testing.pipeline import Pipeline

MODULE = "documented_triggers"
PAGE = (ROOT / "docs/triggers.md").read_text(encoding="utf-8")


def block(language: str, number: int = 0) -> str:
    found: list[str] = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return found[number]


@pytest.fixture(scope="session")
def pipeline_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("triggers") / "pipeline.toml"
    file.write_text("[queues.default]\n" + block("toml"))
    return str(file)


@pytest.fixture(scope="session")
def pipeline_handlers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ...]]:
    folder = tmp_path_factory.mktemp("documented")
    (folder / f"{MODULE}.py").write_text(block("python"))
    sys.path.insert(0, str(folder))
    yield (MODULE,)
    sys.path.remove(str(folder))
    sys.modules.pop(MODULE, None)


def test_the_documented_test_passes(pipeline: Pipeline) -> None:
    scope: dict[str, object] = {}
    exec(compile(block("python", 1), "docs/triggers.md", "exec"), scope)
    scope["test_a_picture_gets_its_thumbnail"](pipeline)  # type: ignore[operator]
    pipeline.assert_submitted("thumbnail", image="img/cat.jpg", times=1)
    assert pipeline.store.get("uploads/img/cat.jpg")[0] == b"..."


def test_a_task_of_a_file_is_as_old_as_the_file(pipeline: Pipeline) -> None:
    [task] = pipeline.upload("img/cat.jpg", b"...")
    pipeline.run_until_idle()
    written = pipeline.store.stat("uploads/img/cat.jpg").generation // 1_000_000
    assert task.record.submitted_at.timestamp() == written > 1_700_000_000


def test_a_file_that_no_trigger_takes_starts_nothing(pipeline: Pipeline) -> None:
    assert pipeline.upload("img/cat.txt", b"...") == ()
    pipeline.run_until_idle()
    assert pipeline.submitted == ()
