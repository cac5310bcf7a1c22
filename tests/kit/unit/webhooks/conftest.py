"""A resolver that a test decides on."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

Resolving = Callable[..., None]


@pytest.fixture
def resolving(monkeypatch: pytest.MonkeyPatch) -> Resolving:
    """Let a name lead to addresses, to others the next time; the last ones stay."""
    real = socket.getaddrinfo
    known: dict[str, list[list[str]]] = {}

    def resolve(host: str, port: int, *args: Any, **options: Any) -> Any:
        if host not in known:
            return real(host, port, *args, **options)
        answers = known[host]
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)

    def set_answers(host: str, *answers: list[str]) -> None:
        known[host] = list(answers)

    return set_answers
