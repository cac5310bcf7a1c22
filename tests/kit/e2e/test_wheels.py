"""The built wheels, each in an environment that has nothing else."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from poolhouse.commands.project import project_files
from poolhouse.pipeline.kit import version as kit_version
from poolhouse.project import ROOT
from tests.kit.e2e.conftest import Kit, run
from tests.kit.interpreters import require
from tests.kit.waiting import until

pytestmark = [pytest.mark.xdist_group("wheels"), pytest.mark.slow]

WEB_FRAMEWORKS = {"fastapi", "starlette", "uvicorn", "aiohttp", "flask", "django", "tornado", "httpx", "requests"}
Make = Callable[..., Path]


def test_the_core_has_client_api_and_worker_and_says_what_new_needs(
    kit: Kit, environment: Make, tmp_path: Path
) -> None:
    bin_ = environment(kit.poolhouse)
    for module in ("poolhouse", "poolhouse.client.client", "poolhouse.api", "poolhouse.worker.__main__"):
        run(bin_ / "python", "-c", f"import {module}", cwd=tmp_path)
    assert run(bin_ / "poolhouse", "--version", cwd=tmp_path) == f"poolhouse {kit_version()}\n"
    assert "usage: poolhouse" in run(bin_ / "poolhouse", "--help", cwd=tmp_path)
    said = run(bin_ / "poolhouse", "new", "shop", cwd=tmp_path, code=2)
    assert "pip install 'poolhouse[local]'" in said
    assert "Traceback" not in said
    assert not (tmp_path / "shop").exists()


def test_neither_wheel_holds_what_only_this_repository_needs(kit: Kit, environment: Make, tmp_path: Path) -> None:
    bin_ = environment(kit.poolhouse, "--no-deps")
    installed = next((bin_.parent / "lib").glob("python*/site-packages"))
    found = {path.name for path in installed.iterdir()}
    assert "poolhouse" in found
    assert not found & {"worker", "api", "local", "tests", "tasks.py", "poolhouse_pubsub"}
    assert (installed / "poolhouse" / "py.typed").is_file()
    examples = installed / "poolhouse" / "templates" / "examples"
    assert {path.parent.name for path in examples.glob("*/pipeline.toml")} == set(project_files.examples())


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_the_emulator_stands_alone_on(kit: Kit, environment: Make, tmp_path: Path, version: str) -> None:
    bin_ = environment(kit.emulator, "pytest", "google-cloud-pubsub", python=require(version))
    program = "import sys, poolhouse_pubsub; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    imported = set(run(bin_ / "python", "-c", program, cwd=tmp_path).split())
    assert "poolhouse_pubsub" in imported
    assert not imported & (WEB_FRAMEWORKS | {"poolhouse"})
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "poolhouse_pubsub" / "README.md").read_text(), re.DOTALL)
    (tmp_path / "test_example.py").write_text(example)
    assert "1 passed" in run(bin_ / "python", "-m", "pytest", "-q", "test_example.py", cwd=tmp_path)


def test_the_emulators_command_answers_and_ends(kit: Kit, environment: Make, tmp_path: Path) -> None:
    bin_ = environment(kit.emulator)
    port = tmp_path / "port"
    with subprocess.Popen([bin_ / "poolhouse-pubsub", "--port", "0", "--port-file", port], cwd=tmp_path) as running:
        try:
            until(port.exists, "the emulator answers")
        finally:
            running.send_signal(signal.SIGTERM)
            assert running.wait(20) == 0
