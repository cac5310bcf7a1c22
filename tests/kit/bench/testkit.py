"""What a test costs on the levels of the test kit that need no stack: `python -m tests.kit.bench.testkit`.

A project of one task type and `--tests` like tests (300), run by pytest in one process and in two. One line of JSON for
each level: the first test with its fixtures, the median of the others, and how long the whole run takes in either way,
the start of pytest and of its processes included; medians of `--repeat` runs (3).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from xml.etree import ElementTree

from poolhouse.local.processes import environment
from poolhouse.project import ROOT

LEVELS = ("inline", "in-process")
_HANDLERS = """
from poolhouse import Payload, TaskContext, task


class Greet(Payload):
    name: str


@task("greet")
def greet(payload: Greet, ctx: TaskContext) -> dict[str, str]:
    return {"greeting": f"Hello, {payload.name}!"}
"""
_TESTS = """
import pytest

from handlers import greet


@pytest.fixture
def pipeline_handlers():
    return ("handlers",)


@pytest.mark.parametrize("number", range({tests}))
def test_a_person_is_greeted(pipeline, number):
    task = pipeline.submit(greet, name=str(number))
    pipeline.run_until_idle()
    assert task.result() == {{"greeting": f"Hello, {{number}}!"}}
"""
_SETTINGS = '[tool.pytest.ini_options]\npythonpath = ["."]\naddopts = "-q -p no:cacheprovider"\n'


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tests", type=int, default=300)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        (project / "handlers.py").write_text(_HANDLERS)
        (project / "test_greeting.py").write_text(_TESTS.format(tests=options.tests))
        (project / "pyproject.toml").write_text(_SETTINGS)
        for level in LEVELS:
            alone = [_run(project, level, processes=0) for _ in range(options.repeat)]
            side_by_side = [_run(project, level, processes=2)[0] for _ in range(options.repeat)]
            line = {
                "level": level,
                "tests": options.tests,
                "first_ms": round(statistics.median(first for _, first, _ in alone)),
                "each_ms": round(statistics.median(each for _, _, each in alone), 1),
                "run_s": round(statistics.median(whole for whole, _, _ in alone), 1),
                "run_by_two_s": round(statistics.median(side_by_side), 1),
            }
            print(json.dumps(line), flush=True)


def _run(project: Path, level: str, *, processes: int) -> tuple[float, float, float]:
    """Run the tests. Returns seconds of the run, milliseconds of the first test and of the median of the others."""
    report = project / "report.xml"
    words = [sys.executable, "-m", "pytest", "-p", "poolhouse.testing.plugin", "--backend", level]
    words += [f"--junit-xml={report}", f"-n{processes}", str(project)]
    started = time.perf_counter()
    run = subprocess.run(words, cwd=ROOT, env=environment.child(), capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(run.stdout + run.stderr)
    whole = time.perf_counter() - started
    times = [1000 * float(case.attrib["time"]) for case in ElementTree.parse(report).iter("testcase")]
    return whole, times[0], statistics.median(times[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
