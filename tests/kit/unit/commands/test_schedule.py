from __future__ import annotations

import json
import re

import pytest

from poolhouse.client.errors import ApiError
from poolhouse.commands.tasks import calls
from poolhouse.pipeline.errors import ConfigError
from tests.kit.unit.commands.conftest import Screen, Served


@pytest.fixture(autouse=True)
def _clock(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poolhouse.commands.tasks.schedule.now", served.clock)


def test_a_listing_shows_when_each_is_due_and_when_it_last_ran(served: Served, screen: Screen) -> None:
    assert calls.schedule(served.api, "run", ["nightly"], terminal=screen.terminal) == 0
    task_id = screen.out.getvalue().strip()
    assert task_id == served.published[0]["task_id"]
    served.clock.forward(600)
    shown = Screen()
    assert calls.schedule(served.api, "list", terminal=shown.terminal) == 0
    row = shown.out.getvalue().splitlines()[1]
    told = (
        "nightly",
        "30 3 * * *",
        "Etc/UTC",
        "data_transformation",
        "bulk",
        "in 15.3 h",
        "10 min ago by hand",
        task_id,
    )
    assert [cell.strip() for cell in re.split(r"  +", row)] == list(told)


def test_a_pause_shows_until_it_is_ended(served: Served, screen: Screen) -> None:
    assert calls.schedule(served.api, "pause", ["nightly"], terminal=screen.terminal) == 0
    calls.schedule(served.api, "list", terminal=(paused := Screen()).terminal)
    assert "paused" in paused.out.getvalue()
    assert calls.schedule(served.api, "resume", ["nightly"], terminal=screen.terminal) == 0
    assert "nightly runs next at 2026-03-02T03:30:00Z" in screen.said
    calls.schedule(served.api, "list", as_json=True, terminal=(resumed := Screen()).terminal)
    assert json.loads(resumed.out.getvalue())["paused_at"] is None


def test_a_name_that_is_none_names_those_there_are(served: Served, screen: Screen) -> None:
    with pytest.raises(ApiError, match=r"'x' \(schedules: nightly\)"):
        calls.schedule(served.api, "run", ["x"], terminal=screen.terminal)


def test_wrong_use_says_what_to_write(served: Served, screen: Screen) -> None:
    with pytest.raises(ConfigError, match="schedule pause NAME"):
        calls.schedule(served.api, "pause", terminal=screen.terminal)
    with pytest.raises(ConfigError, match="one of list, run, pause, resume"):
        calls.schedule(served.api, "stop", ["nightly"], terminal=screen.terminal)
