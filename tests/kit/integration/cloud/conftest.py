from __future__ import annotations

import os
import shutil
import socket

import pytest


@pytest.fixture(scope="session")
def gcloud_program() -> str:
    """Path of the real gcloud, which must be there in CI."""
    program = shutil.which("gcloud")
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("gcloud is not installed: these tests must run in CI")
        pytest.skip("gcloud is not installed")
    return program


@pytest.fixture
def unused_port() -> int:
    """A port that nobody listens on: the kernel gives it to one socket, which is closed again."""
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        return int(chosen.getsockname()[1])
