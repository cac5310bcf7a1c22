"""HTTP to servers on this machine: no proxy, no `.netrc`, no certificate of the developer's environment is asked."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import requests


def is_here(url: str) -> bool:
    """Whether a URL's host is this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def session() -> requests.Session:
    """Return a session that takes nothing from the environment; close it."""
    import requests  # noqa: PLC0415 - the API's client needs none

    made = requests.Session()
    made.trust_env = False
    return made
