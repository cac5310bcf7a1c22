"""What is written twice on purpose, because one distribution can't import the other, says the same in both places."""

from __future__ import annotations

from poolhouse.project import ROOT


def test_the_emulator_and_the_kit_guard_against_foreign_pages_by_one_rule() -> None:
    ours, theirs = (ROOT / path for path in ("poolhouse/pipeline", "poolhouse_pubsub/transport"))
    assert (ours / "web_guard.py").read_text() == (theirs / "web_guard.py").read_text()
