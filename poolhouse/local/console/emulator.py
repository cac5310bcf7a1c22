"""Poolhouse's Pub/Sub emulator: what its administration says of it and does, and where its own pages are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import requests

from poolhouse.client import loopback
from poolhouse.client.answers import Document
from poolhouse.local.errors import StackError

_TIMEOUT_S = 5.0


class NoEmulator(StackError):
    """There is no emulator of ours; the text says what is there instead, and what helps."""


class Emulator:
    """Calls of one emulator."""

    def __init__(self, host: str) -> None:
        """Connects at the first call.

        Args:
            host: HOST:PORT, as PUBSUB_EMULATOR_HOST has it.
        """
        self._url = f"http://{host}"

    def is_ours(self) -> bool:
        """Whether it has an administration at all. Raises `StackError` where it does not answer."""
        answer = self._send("GET", "/admin/clock")
        return answer.ok and "json" in answer.headers.get("Content-Type", "")

    def subscriptions(self) -> Sequence[Document]:
        """The counts of each subscription."""
        found: Sequence[Document] = self._call("GET", "/admin/subscriptions")["subscriptions"]
        return found

    def now(self) -> datetime:
        """The time by its clock."""
        return datetime.fromtimestamp(self._call("GET", "/admin/clock")["now"], UTC)

    def advance(self, seconds: float) -> None:
        """Move its clock forward."""
        self._call("POST", "/admin/clock/advance", {"seconds": seconds})

    def faults(self) -> Sequence[Document]:
        """The faults that are set."""
        found: Sequence[Document] = self._call("GET", "/admin/faults")["faults"]
        return found

    def clear_faults(self) -> None:
        """Take all faults away."""
        self._call("DELETE", "/admin/faults")

    def page(self, *parts: str) -> str:
        """The address of a page of its own, by the parts of its path after `/ui`."""
        return "/".join((f"{self._url}/ui", *(quote(part, safe="") for part in parts)))

    def _call(self, method: str, path: str, body: object = None) -> Any:
        answer = self._send(method, path, body)
        if not answer.ok:
            raise StackError(f"the emulator refuses {method} {path}: {answer.text[:300]}")
        return answer.json()

    def _send(self, method: str, path: str, body: object = None) -> requests.Response:
        try:
            with loopback.session() as session:
                return session.request(method, self._url + path, json=body, timeout=_TIMEOUT_S)
        except requests.RequestException as error:
            raise StackError(f"the Pub/Sub emulator does not answer at {self._url}: {type(error).__name__}") from None
