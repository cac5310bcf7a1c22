from __future__ import annotations

import json
import traceback

from poolhouse.local.console.task.frames import parts

MIXED = """Traceback (most recent call last):
  File "/srv/app/.venv/lib/python3.11/site-packages/poolhouse/worker/runtime/execution/executor.py", line 5, in run
    return function(payload)
  File "/srv/poolhouse/worker/handlers/orders.py", line 9, in load
    rows = read(
           ^^^^^
  File "/usr/lib/python3.11/json/__init__.py", line 346, in loads
    return _default_decoder.decode(s)
  File "<frozen importlib._bootstrap>", line 1027, in _find_and_load
ValueError: row 7
  has no customer"""


def test_ones_own_frames_stand_out_and_those_of_libraries_are_counted() -> None:
    found = parts(MIXED)
    assert [(part.kind, part.count) for part in found] == [
        ("text", 0),
        ("library", 1),
        ("frames", 1),
        ("library", 2),
        ("text", 0),
    ]
    assert "orders.py" in found[2].text
    assert found[2].text.endswith("^^^^^")
    assert found[-1].text == "ValueError: row 7\n  has no customer"


def test_nothing_of_a_real_one_is_lost() -> None:
    try:
        try:
            json.loads("{broken")
        except ValueError as error:
            raise KeyError("customer") from error
    except KeyError:
        text = traceback.format_exc().rstrip("\n")
    found = parts(text)
    assert "\n".join(part.text for part in found) == text
    assert any(part.kind == "library" for part in found)
    assert sum(part.kind == "frames" for part in found) == 2


def test_a_text_that_is_none_is_one_part() -> None:
    assert [(part.kind, part.text) for part in parts("just\n  words")] == [("text", "just\n  words")]
    assert parts("") == []
