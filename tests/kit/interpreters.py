"""Pythons of this machine, for tests that need another than their own."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest


def require(version: str) -> str:
    """Return the path of a Python, such as `3.12`. Without one the test is skipped; in CI that is a failure."""
    # pyenv is in the account's home, whatever HOME says.
    homes = dict.fromkeys((Path.home(), Path(pwd.getpwuid(os.getuid()).pw_dir)))
    kept = [
        path for home in homes for path in sorted(home.glob(f".pyenv/versions/{version}.*/bin/python"), reverse=True)
    ]
    for candidate in (shutil.which(f"python{version}"), *map(str, kept)):
        if candidate and _is(candidate, version):
            return candidate
    if os.environ.get("CI"):
        pytest.fail(f"CI needs Python {version}")
    pytest.skip(f"no Python {version}")


def _is(candidate: str, version: str) -> bool:
    program = "import sys; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([candidate, "-I", "-c", program], capture_output=True, text=True, check=False)
    return done.returncode == 0 and done.stdout.strip() == version
