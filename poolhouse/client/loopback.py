"""HTTP to servers on this machine: no proxy, no `.netrc`, no certificate of the developer's environment is asked."""

from __future__ import annotations

import requests

PREFIX = "http://127.0.0.1:"


def session() -> requests.Session:
    """Return a session that takes nothing from the environment; close it."""
    made = requests.Session()
    made.trust_env = False
    return made
