"""Poolhouse's Pub/Sub emulator: whether it is there, and where its own console is."""

from __future__ import annotations

import requests

from poolhouse.client import loopback

_TIMEOUT_S = 5.0


class Emulator:
    """Calls of one emulator."""

    def __init__(self, host: str) -> None:
        """Connects at the first call.

        Args:
            host: HOST:PORT, as PUBSUB_EMULATOR_HOST has it.
        """
        self._url = f"http://{host}"

    def is_ours(self) -> bool | None:
        """Whether it has an administration at all; None where it does not answer."""
        try:
            answer = self._get("/admin/clock")
        except requests.RequestException:
            return None
        return answer.ok and "json" in answer.headers.get("Content-Type", "")

    @property
    def console_url(self) -> str:
        """The emulator's own console."""
        return f"{self._url}/ui"

    def _get(self, path: str) -> requests.Response:
        with loopback.session() as session:
            return session.get(self._url + path, timeout=_TIMEOUT_S)
