"""The administration of Poolhouse's Pub/Sub emulator: its clock, its faults, and what is in its subscriptions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import requests

from poolhouse.client import loopback
from poolhouse.local.errors import StackError

_TIMEOUT_S = 5.0


class Emulator:
    """Calls of one emulator. Every method but `is_ours` may raise `StackError`."""

    def __init__(self, host: str) -> None:
        """Connects at the first call.

        Args:
            host: HOST:PORT, as PUBSUB_EMULATOR_HOST has it.
        """
        self._url = f"http://{host}"

    def is_ours(self) -> bool | None:
        """Whether it has an administration at all; None where it does not answer."""
        try:
            answer = self._send("GET", "/admin/clock")
        except requests.RequestException:
            return None
        return answer.ok and "json" in answer.headers.get("Content-Type", "")

    def clock(self) -> dict[str, Any]:
        """`now`, in seconds since the epoch, and whether it is `manual`: whether it stands still by itself."""
        return self._call("GET", "/admin/clock")

    def advance(self, seconds: float) -> None:
        """Move its time forward."""
        self._call("POST", "/admin/clock/advance", {"seconds": seconds})

    def faults(self) -> list[dict[str, Any]]:
        """The faults that are set, and how often each has happened."""
        found: list[dict[str, Any]] = self._call("GET", "/admin/faults")["faults"]
        return found

    def add_fault(self, fault: Mapping[str, Any]) -> None:
        """Set another fault, by the fields of `poolhouse_pubsub.control.faults.Fault`."""
        self._call("POST", "/admin/faults", fault)

    def clear_faults(self) -> None:
        """Take all faults away."""
        self._call("DELETE", "/admin/faults")

    def restart(self) -> None:
        """End its streams and leases, as a restart would."""
        self._call("POST", "/admin/restart")

    def subscriptions(self) -> list[dict[str, Any]]:
        """The counts of every subscription."""
        found: list[dict[str, Any]] = self._call("GET", "/admin/subscriptions")["subscriptions"]
        return found

    def _call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        try:
            answer = self._send(method, path, body)
            document: dict[str, Any] = answer.json()
        except requests.RequestException as error:
            raise StackError(f"the Pub/Sub emulator does not answer ({type(error).__name__})") from None
        if not answer.ok:
            raise StackError(str(document.get("error", {}).get("message") or f"the emulator said {answer.status_code}"))
        return document

    def _send(self, method: str, path: str, body: Any = None) -> requests.Response:
        with loopback.session() as session:
            return session.request(method, self._url + path, json=body, timeout=_TIMEOUT_S)
