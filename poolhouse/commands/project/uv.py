"""Calls of the uv that this environment has installed."""

from __future__ import annotations

import os
import sys


def command(*arguments: str) -> tuple[str, ...]:
    """Return the command line of a call."""
    return (sys.executable, "-m", "uv", *arguments)


def environment() -> dict[str, str]:
    """Return the variables of a call: certificates are the system's unless the user says otherwise.

    As pip does: a company's proxy has a certificate that only the system's store knows. local/bootstrap.py, which runs
    before there is a kit, has the same rule.
    """
    # The second is its name before uv 0.10.
    return {"UV_SYSTEM_CERTS": "true", "UV_NATIVE_TLS": "true", **os.environ}
