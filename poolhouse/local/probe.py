"""Whether a server of ours answers."""

from __future__ import annotations

import requests

from poolhouse.client import loopback

_TIMEOUT_S = 5


def answers(url: str) -> bool:
    """Whether a GET gets a 2xx within five seconds; no answer, or another, is False."""
    with loopback.session() as session:
        try:
            return session.get(url, timeout=_TIMEOUT_S).ok
        except requests.RequestException:
            return False
