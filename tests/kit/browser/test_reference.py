"""The API's reference page in a real browser, which reaches nothing but the service."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.kit.browser.chromium import OPTIONS, program
from tests.kit.integration.api.conftest import ApiProcess, start_api

__all__ = ["start_api"]


def test_the_reference_shows_every_call_with_no_network(start_api: Callable[..., ApiProcess], tmp_path: Path) -> None:
    api = start_api()
    page = subprocess.run(
        [
            program(),
            *OPTIONS,
            "--virtual-time-budget=15000",
            "--dump-dom",
            f"--user-data-dir={tmp_path}",
            f"{api.url}/docs",
        ],
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    ).stdout
    for call in ("/submit-task", "/tasks/{task_id}", "/files", "/queues", "/dead-letters"):
        assert f'data-path="{call}"' in page
