"""A pipeline of the tests' own, on both levels of one process: import these fixtures, and define `pipeline_text`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from poolhouse.testing.levels import Level, ServerLevel
from poolhouse.testing.plugin import neutral_environment


@pytest.fixture(scope="session")
def pipeline_file(tmp_path_factory: pytest.TempPathFactory, pipeline_text: str) -> str:
    file = tmp_path_factory.mktemp("pipeline") / "pipeline.toml"
    file.write_text(pipeline_text)
    return str(file)


@pytest.fixture(scope="session", params=[Level, ServerLevel], ids=["inline", "in-process"])
def pipeline_level(request: pytest.FixtureRequest) -> Iterator[Level]:
    with neutral_environment():
        level: Level = request.param()
        try:
            yield level
        finally:
            level.close()
