"""Poolhouse's Pub/Sub emulator: what is in its subscriptions, and where its own console is."""

from __future__ import annotations

from typing import Any

import requests

from poolhouse.client import loopback
from poolhouse.local.errors import StackError

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

    def subscriptions(self) -> list[dict[str, Any]]:
        """Return the counts of every subscription.

        Raises:
            StackError: it does not answer, or with an error.
        """
        try:
            answer = self._get("/admin/subscriptions")
            document: dict[str, Any] = answer.json()
        except requests.RequestException as error:
            raise StackError(f"the Pub/Sub emulator does not answer ({type(error).__name__})") from None
        if not answer.ok:
            raise StackError(str(document.get("error", {}).get("message") or f"the emulator said {answer.status_code}"))
        found: list[dict[str, Any]] = document["subscriptions"]
        return found

    def _get(self, path: str) -> requests.Response:
        with loopback.session() as session:
            return session.get(self._url + path, timeout=_TIMEOUT_S)
