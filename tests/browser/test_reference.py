"""The API's reference page in a real browser, which reaches nothing but the service."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.api.conftest import ApiProcess, start_api

__all__ = ["start_api"]

#: Every host but this machine resolves to nothing: a page that needs a CDN shows as empty.
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    "--virtual-time-budget=15000",
    "--dump-dom",
)


@pytest.fixture
def browser() -> str:
    """The program; without one the test fails in CI, and is skipped elsewhere."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        message = "Chromium is not installed (Debian: apt-get install chromium)"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    return found


def test_the_reference_shows_every_call_with_no_network(
    browser: str, start_api: Callable[..., ApiProcess], tmp_path: Path
) -> None:
    api = start_api()
    page = subprocess.run(
        [browser, *OPTIONS, f"--user-data-dir={tmp_path}", f"{api.url}/docs"],
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    ).stdout
    for call in ("/submit-task", "/tasks/{task_id}", "/files", "/queues", "/dead-letters"):
        assert f'data-path="{call}"' in page
