"""The deployed console as a process: what the image must have, and what the environment must say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from poolhouse.cloud import image
from poolhouse.local.console.deployed import __main__ as process
from poolhouse.local.processes import ports
from poolhouse.pipeline.config.console_options import ConsoleAccess
from poolhouse.pipeline.exit_codes import USAGE
from poolhouse.project import ROOT
from tests.kit.waiting import until

ACCESS = ConsoleAccess(audience="/projects/1/locations/r/services/s", log_filter="x").model_dump_json()
COMPLETE = {
    "CONSOLE_ACCESS": ACCESS,
    "GOOGLE_CLOUD_PROJECT": "some-project",
    "POOLHOUSE_API_URL": "https://shop-api-1.europe-west1.run.app",
}
#: Prints the file of each module of ours that the process has.
FILES = """
import sys, {module}
print(*(module.__file__ for name, module in sys.modules.items() if name.partition(".")[0] == "poolhouse"), sep="\\n")
"""


def test_the_image_has_every_module_of_the_console() -> None:
    program = FILES.format(module=process.__name__)
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    imported = {Path(line).relative_to(ROOT) for line in done.stdout.split()}
    copied = image.inputs((ROOT / "Dockerfile").read_text()).copied
    missing = {path for path in imported if not any(path.is_relative_to(source) for source in copied)}
    assert missing == set()
    assert Path("poolhouse/local/console/deployed/gate.py") in imported
    left_out = (ROOT / ".dockerignore").read_text().splitlines()
    assert not [path for path in imported if any(path.is_relative_to(line) for line in left_out if line)]


@pytest.mark.parametrize("missing", COMPLETE)
def test_without_its_rules_or_its_api_it_does_not_start(missing: str, capsys: pytest.CaptureFixture[str]) -> None:
    environment = {name: value for name, value in COMPLETE.items() if name != missing}
    assert process.main(environment) == USAGE
    assert missing in capsys.readouterr().err


def test_rules_that_can_not_be_read_are_no_rules(capsys: pytest.CaptureFixture[str]) -> None:
    assert process.main({**COMPLETE, "CONSOLE_ACCESS": '{"audience": ""}'}) == USAGE
    assert "CONSOLE_ACCESS" in capsys.readouterr().err


def test_it_serves_until_it_is_told_to_stop() -> None:
    port = ports.choose()
    environment = {**os.environ, **COMPLETE, "PORT": str(port)}
    command = (sys.executable, "-m", process.__name__.removesuffix(".__main__"))
    with subprocess.Popen(command, cwd=ROOT, env=environment) as running:
        try:
            until(lambda: answer(port, "/health") == 200, "the console", timeout_s=60)
            assert answer(port, "/") == 401
        finally:
            running.send_signal(signal.SIGTERM)
            assert running.wait(60) in {0, -signal.SIGTERM}


def answer(port: int, path: str) -> int | None:
    try:
        return requests.get(f"http://127.0.0.1:{port}{path}", timeout=10).status_code
    except requests.ConnectionError:
        return None
