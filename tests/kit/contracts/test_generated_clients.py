"""Clients that generators make of the OpenAPI document: each submits a task and reads its typed result."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from poolhouse.testing.plugin import Stack

HERE = Path(__file__).parent
pytestmark = pytest.mark.slow

#: Longest run of a program, in seconds; the first is npm's, which fetches packages.
TIMEOUT_S = 240


def run(*command: str | Path, cwd: Path) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture
def document(poolhouse_stack: Stack, tmp_path: Path) -> Path:
    with urllib.request.urlopen(f"{poolhouse_stack.endpoints.api_url}/openapi.json", timeout=30) as answer:
        (tmp_path / "openapi.json").write_bytes(answer.read())
    return tmp_path / "openapi.json"


def test_a_python_client(document: Path, poolhouse_stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("post_hooks: []\n")
    generator = Path(sys.executable).with_name("openapi-python-client")
    options = ("--meta", "none", "--config", "settings.yaml", "--fail-on-warning")
    run(generator, "generate", "--path", document, "--output-path", "made", *options, cwd=tmp_path)
    shutil.copy(HERE / "call_api.py", tmp_path)
    seen = run(sys.executable, "call_api.py", poolhouse_stack.endpoints.api_url, cwd=tmp_path)
    assert json.loads(seen) == {"value": "Ada", "attempt": 1}


def test_a_typescript_client(document: Path, poolhouse_stack: Stack, tmp_path: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    for name in ("package.json", "package-lock.json", "call_api.ts"):
        shutil.copy(HERE / name, tmp_path)
    run(npm, "ci", "--no-audit", "--no-fund", cwd=tmp_path)
    tools = tmp_path / "node_modules/.bin"
    run(tools / "openapi-typescript", document, "-o", "schema.d.ts", cwd=tmp_path)
    options = ("--strict", "--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom")
    (tmp_path / "node.d.ts").write_text("declare const process: { argv: string[] };\n")
    run(tools / "tsc", *options, "node.d.ts", "call_api.ts", cwd=tmp_path)
    seen = run("node", "call_api.js", poolhouse_stack.endpoints.api_url, cwd=tmp_path)
    assert json.loads(seen) == {"value": "Ada", "attempt": 1}
