"""Which canary a deploy has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from poolhouse.cloud import deploy
from poolhouse.cloud.canary import choice, rollout
from poolhouse.commands import cloud
from poolhouse.commands.project import declaration
from poolhouse.pipeline.config.topology import load

PIPELINE = """
name = "shop"
[queues.mail]
[deploy]
project = "some-project"
canary = { percent = 10 }
[stages.staging.deploy.canary]
percent = 0
[stages.prod]
ref = "refs/tags/v*"
[stages.prod.deploy.canary]
watch_s = 3600
[stages."pr-*"]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "pipeline.toml"
    path.write_text(PIPELINE)
    return path


@pytest.mark.parametrize(
    ("stage", "options", "percent", "watch_s"),
    [
        ("", {}, 10, 600),
        ("prod", {}, 10, 3600),
        ("staging", {}, 0, 600),
        ("pr-7", {}, 0, 600),  # has no requests to be judged by
        ("prod", {"canary": "25"}, 25, 3600),
        ("prod", {"canary": "0"}, 0, 3600),
        ("prod", {"watch": "5m"}, 10, 300),
        ("pr-7", {"canary": "50", "watch": "1m"}, 50, 60),
    ],
)
def test_the_command_line_goes_before_the_stage_and_the_stage_before_the_rest(
    file: Path, stage: str, options: dict[str, str], percent: int, watch_s: float
) -> None:
    chosen = choice.choose(load(file, stage=stage), **{"canary": "", "watch": "", **options})
    assert (chosen.percent, chosen.watch_s) == (percent, watch_s)


@pytest.mark.parametrize(("options", "canary"), [({}, (10, 600)), ({"canary": "0"}, None)])
def test_a_deploy_has_the_declared_canary_without_an_option(
    file: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, str], canary: tuple[int, float] | None
) -> None:
    found: list[tuple[int, float] | None] = []

    def roll_out(*_: object, percent: int, watch_s: float, **__: Any) -> None:
        found.append((percent, watch_s))

    monkeypatch.setattr(cloud, "ROOT", file.parent)
    monkeypatch.setattr(cloud, "Gcloud", lambda project, env: None)
    monkeypatch.setattr(declaration, "check", lambda declared: None)
    monkeypatch.setattr(deploy, "deploy", lambda *_, **__: found.append(None))
    monkeypatch.setattr(rollout, "roll_out", roll_out)
    assert cloud.run_deploy(**options) == 0  # type: ignore[arg-type]
    assert found == [canary]
