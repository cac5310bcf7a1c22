from __future__ import annotations

from pathlib import Path

import pytest

from poolhouse.cloud import image
from poolhouse.cloud.errors import CloudError

DOCKERFILE = """\
# a comment with COPY secrets /x
ARG BASE=python
FROM ${BASE} AS dependencies
COPY requirements.lock /build/
RUN --mount=type=bind,source=wheels,target=/w \\
    --mount=type=cache,target=/root/.cache true
FROM ${BASE} AS runtime
COPY --from=dependencies /opt /opt
FROM runtime AS other
COPY never ./
FROM runtime AS production
COPY ["pipeline.toml", "./"]
COPY --chown=1:1 ./app/ \\
     ./app
"""
PIPELINE = "[queues.mail]\n[queues.mail.workers]\nmax_instances = 3\nconcurrency = 2\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "requirements.lock").write_text("x==1")
    (tmp_path / "pipeline.toml").write_text(PIPELINE)
    (tmp_path / "app" / "__pycache__").mkdir(parents=True)
    (tmp_path / "app" / "main.py").write_text("print(1)")
    (tmp_path / "app" / "__pycache__" / "main.pyc").write_text("x")
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "big.whl").write_text("x")
    return tmp_path


def test_the_inputs_are_those_of_the_last_stage_and_what_it_stands_on() -> None:
    found = image.inputs(DOCKERFILE)
    assert found.copied == ("requirements.lock", "pipeline.toml", "app")
    assert found.mounted == ("wheels",)


def test_the_tag_is_the_same_until_an_input_changes(root: Path) -> None:
    before = image.tag(root)
    (root / "README").write_text("not an input")
    (root / "app" / "__pycache__" / "main.pyc").write_text("y")
    assert image.tag(root) == before
    (root / "app" / "main.py").write_text("print(2)")
    assert image.tag(root) != before


def test_sizes_that_only_a_deploy_reads_make_no_new_image(root: Path) -> None:
    before = image.tag(root)
    (root / "pipeline.toml").write_text(PIPELINE.replace("max_instances = 3", "max_instances = 30"))
    assert image.tag(root) == before
    (root / "pipeline.toml").write_text(PIPELINE.replace("concurrency = 2", "concurrency = 20"))
    assert image.tag(root) != before


def test_only_the_inputs_are_sent_and_mounted_folders_are_empty(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    target = tmp_path_factory.mktemp("stage")
    image.stage(root, target)
    names = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    assert names == {"Dockerfile", "requirements.lock", "pipeline.toml", "app/main.py", "wheels/.keep"}


def test_a_missing_input_is_named(root: Path) -> None:
    (root / "requirements.lock").unlink()
    with pytest.raises(CloudError, match=r"copies requirements\.lock, which is not there"):
        image.tag(root)
