from __future__ import annotations

import json
from typing import Any

import pytest

from poolhouse.client.errors import ApiError
from poolhouse.commands.tasks import calls
from poolhouse.pipeline.control.control_store import ControlStore
from poolhouse.pipeline.errors import ConfigError, StoreUnavailable
from tests.kit.unit.commands.conftest import Screen, Served


@pytest.fixture(autouse=True)
def _clock(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands' clock is the API's."""
    for module in ("queue", "calls"):
        monkeypatch.setattr(f"poolhouse.commands.tasks.{module}.now", served.clock)


def queue(served: Served, screen: Screen, action: str, *words: str, **options: Any) -> int:
    return calls.queue(served.api, action, words, terminal=screen.terminal, **options)


def cancel(served: Served, screen: Screen, **options: Any) -> int:
    return calls.cancel(served.api, terminal=screen.terminal, **options)


def delayed(served: Served, **fields: Any) -> str:
    answer = served.api.post("/tasks", {"task_type": "anything", "delay_s": 86_400, **fields})
    served.clock.forward(1)
    return str(answer["task_id"])


def status_of(served: Served, task_id: str) -> str:
    return str(served.api.get(f"/tasks/{task_id}")["status"])


def test_the_list_shows_which_queues_are_paused(served: Served, screen: Screen) -> None:
    assert queue(served, screen, "pause", "bulk") == 0
    served.clock.forward(3600)
    assert queue(served, screen, "list") == 0
    states = {row[0]: row[1:5] for row in screen.rows[1:]}
    assert states["default"][0] == "runs"
    assert states["bulk"] == ["paused", "60", "min", "ago"]


def test_the_list_for_programs_is_json_a_line(served: Served, screen: Screen) -> None:
    assert queue(served, screen, "list", as_json=True) == 0
    assert [json.loads(line)["name"] for line in screen.out.getvalue().splitlines()] == ["default", "bulk"]


def test_several_queues_are_paused_and_resumed(served: Served, screen: Screen) -> None:
    assert queue(served, screen, "pause", "default", "bulk") == 0
    assert set(ControlStore(served.store).read().control.paused) == {"default", "bulk"}
    assert queue(served, screen, "resume", "default", "bulk") == 0
    assert ControlStore(served.store).read().control.paused == {}
    assert "./invoke queue resume bulk" in screen.said
    assert "bulk runs" in screen.said


@pytest.mark.parametrize("action", ["pause", "resume", "purge"])
def test_a_name_is_required(served: Served, screen: Screen, action: str) -> None:
    with pytest.raises(ConfigError, match="which one"):
        queue(served, screen, action)


def test_an_unknown_queue_or_action_is_named(served: Served, screen: Screen) -> None:
    with pytest.raises(ApiError, match=r"no queue 'nope' \(queues: default, bulk\)"):
        queue(served, screen, "pause", "nope")
    with pytest.raises(ConfigError, match="Did you mean 'pause'"):
        queue(served, screen, "puase", "default")


def test_a_purge_asks_first(served: Served, screen: Screen) -> None:
    task_id = delayed(served)
    with pytest.raises(ConfigError, match=r"Purge default\? That can't be undone\. Not a terminal; pass --yes"):
        queue(served, screen, "purge", "default")
    assert status_of(served, task_id) == "scheduled"
    assert queue(served, screen, "purge", "default", yes=True) == 0
    assert status_of(served, task_id) == "cancelled"
    assert screen.said.endswith("cancelled 1 task")


def test_a_dry_run_of_a_purge_shows_what_would_go(served: Served, screen: Screen) -> None:
    task_id = delayed(served)
    assert queue(served, screen, "purge", "default", dry_run=True) == 0
    assert screen.rows[1][:4] == [task_id, "anything", "default", "scheduled"]
    assert screen.said == "1 task found. Nothing was cancelled: this was a dry run"
    assert status_of(served, task_id) == "scheduled"


def test_tasks_are_cancelled_by_filter(served: Served, screen: Screen) -> None:
    old = delayed(served)
    served.clock.forward(7200)
    new, other = delayed(served), delayed(served, queue="bulk")
    assert cancel(served, screen, older="1h", yes=True) == 0
    assert [status_of(served, each) for each in (old, new, other)] == ["cancelled", "scheduled", "scheduled"]
    assert cancel(served, screen, queue="bulk", task_type="anything", status="scheduled", yes=True) == 0
    assert [status_of(served, each) for each in (new, other)] == ["scheduled", "cancelled"]


def test_a_cancel_needs_a_filter_or_all(served: Served, screen: Screen) -> None:
    delayed(served)
    with pytest.raises(ConfigError, match="or --all"):
        cancel(served, screen, yes=True)
    assert cancel(served, screen, everything=True, yes=True) == 0
    assert screen.said.endswith("cancelled 1 task")


def test_a_status_that_has_ended_is_refused(served: Served, screen: Screen) -> None:
    with pytest.raises(
        ConfigError, match=r"--status 'queue': one of queued, running, scheduled\. Did you mean 'queued'"
    ):
        cancel(served, screen, status="queue")


def test_a_rate_makes_small_calls(served: Served, screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("poolhouse.client.units.Pace.wait", lambda pace: waits.append(pace._gap_s))
    for _ in range(5):
        delayed(served)
    assert cancel(served, screen, everything=True, yes=True, rate="2/s") == 0
    assert waits == [1.0, 1.0, 1.0]
    assert screen.said.endswith("cancelled 5 tasks")


def test_a_break_says_how_to_go_on_and_the_same_command_does(served: Served, screen: Screen) -> None:
    ids = [delayed(served) for _ in range(4)]

    def breaks(name: str) -> None:
        if name == f"tasks/{ids[0]}.json,claim":  # the oldest, which comes last
            raise StoreUnavailable("gone for a moment")

    served.store.before_write = breaks
    assert cancel(served, screen, everything=True, yes=True, rate="1/s") == 1
    assert "cancelled 3 tasks" in screen.said
    assert "the same command goes on with what is left" in screen.said
    served.store.before_write = lambda _: None
    assert cancel(served, screen, everything=True, yes=True) == 0
    assert {status_of(served, task_id) for task_id in ids} == {"cancelled"}


def test_a_purge_of_a_paused_queue_says_when_waiting_messages_go(served: Served, screen: Screen) -> None:
    assert queue(served, screen, "pause", "bulk") == 0
    assert queue(served, screen, "purge", "bulk", yes=True) == 0
    assert "messages that wait are cancelled once it is resumed: ./invoke queue resume bulk" in screen.said
    other = Screen()
    assert queue(served, other, "purge", "default", yes=True) == 0
    assert "paused" not in other.said
