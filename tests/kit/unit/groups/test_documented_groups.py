"""The example of docs/groups.md comes to the same wherever a worker dies or a call fails."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

import pytest

from poolhouse.pipeline.tasks.records import Status
from poolhouse.project import ROOT
from poolhouse.testing.pipeline import Pipeline

MODULE = "documented_groups"


@pytest.fixture(scope="session")
def pipeline_handlers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ...]]:
    code, *_ = re.findall(r"```python\n(.*?)```", (ROOT / "docs/groups.md").read_text(encoding="utf-8"), re.DOTALL)
    folder = tmp_path_factory.mktemp("documented")
    (folder / f"{MODULE}.py").write_text(code)
    sys.path.insert(0, str(folder))
    yield (MODULE,)
    sys.path.remove(str(folder))
    sys.modules.pop(MODULE, None)


def test_the_documented_group_is_repeatable_at_every_crash_point(pipeline: Pipeline) -> None:
    for turn in pipeline.crash_points():
        with turn:
            book = pipeline.submit("render_book", title="Emma", pages=2)
            pipeline.run_until_idle()
            assert book.status is Status.SUCCEEDED
            pipeline.assert_submitted("bind_book", times=1)
