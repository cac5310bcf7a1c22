"""The example of docs/webhooks.md: the declaration, the handler and the receiver belong together."""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from poolhouse.pipeline.config import topology
from poolhouse.project import ROOT
from poolhouse.worker.registry import load
from poolhouse.worker.webhooks import signature

PAGE = (ROOT / "docs/webhooks.md").read_text(encoding="utf-8")


def block(language: str, number: int = 0) -> str:
    found: list[str] = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return found[number]


def test_the_handler_fits_the_declaration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "documented_order.py").write_text(block("python"))
    monkeypatch.syspath_prepend(tmp_path)
    registry = load(["documented_order"])
    declared = topology.parse(block("toml") + "\n[queues.default]\n")
    registry.check_queues(declared, declared_in="pipeline.toml")
    assert list(registry) == ["ship"]
    sys.modules.pop("documented_order")


def test_the_receiver_accepts_the_event_that_the_page_shows() -> None:
    scope: dict[str, object] = {}
    exec(compile(block("python", 1), "docs/webhooks.md", "exec"), scope)
    event, secret = json.loads(block("json")), "whsec_" + "A" * 32
    body = json.dumps(event).encode()
    headers = signature.headers(body, event_id="event-1", at=datetime.now(UTC), secrets=signature.secrets_of(secret))
    receive = scope["receive"]
    assert callable(receive)
    assert receive(body, headers, secret) == "… has succeeded"
