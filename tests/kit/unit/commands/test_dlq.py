from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from poolhouse.client.errors import ApiError
from poolhouse.commands import terminal
from poolhouse.commands.tasks import calls
from poolhouse.pipeline.errors import ConfigError
from tests.kit.unit.commands.conftest import Screen, Served


@pytest.fixture(autouse=True)
def _clock(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands' clock is the API's."""
    monkeypatch.setattr(terminal, "now", served.clock)
    for module in ("dlq", "calls"):
        monkeypatch.setattr(f"poolhouse.commands.tasks.{module}.now", served.clock)


def dlq(served: Served, screen: Screen, action: str, *words: str, **options: Any) -> int:
    return calls.dlq(served.api, action, words, terminal=screen.terminal, **options)


def test_a_listing_has_every_dead_letter_with_its_age_and_reason(served: Served, screen: Screen) -> None:
    first = served.bury(value=1)
    served.clock.forward(7200)
    second = served.bury("data_transformation", dataset_size=3, reason="no [luck]")
    assert dlq(served, screen, "list") == 0
    assert screen.rows[0] == ["task", "type", "queue", "died", "reason"]
    rows = sorted(screen.rows[1:])
    assert rows == sorted(
        [
            [first, "anything", "default", "2.0", "h", "it", "would", "not", "work"],
            [second, "data_transformation", "bulk", "0", "s", "no", "[luck]"],
        ]
    )


def test_a_listing_for_programs_is_json_a_line(served: Served, screen: Screen) -> None:
    ids = {served.bury(value=1), served.bury(value=2)}
    assert dlq(served, screen, "list", as_json=True) == 0
    assert {json.loads(line)["task_id"] for line in screen.out.getvalue().splitlines()} == ids


def test_a_listing_says_when_there_is_more(served: Served, screen: Screen) -> None:
    for value in range(3):
        served.bury(value=value)
    dlq(served, screen, "list", limit=2)
    assert len(screen.rows) == 3
    assert screen.said == "the first 2; --limit shows more"


@pytest.mark.parametrize(
    ("chosen", "matches"),
    [
        ({}, True),
        ({"task_type": "anything"}, True),
        ({"task_type": "any"}, False),
        ({"queue": "default"}, True),
        ({"queue": "bulk"}, False),
        ({"reason": "NOT WORK"}, True),
        ({"reason": "timeout"}, False),
        ({"older": "1h"}, True),
        ({"older": "3h"}, False),
        ({"newer": "3h"}, True),
        ({"newer": "90m"}, False),
        ({"older": "1h", "newer": "3h", "reason": "work", "task_type": "anything"}, True),
    ],
)
def test_filters_choose(served: Served, screen: Screen, chosen: dict[str, str], matches: bool) -> None:
    task_id = served.bury(value=1)
    served.clock.forward(7200)
    assert dlq(served, screen, "list", **chosen) == 0
    assert (task_id in screen.out.getvalue()) == matches


def test_one_dead_letter_is_shown_with_its_message(served: Served, screen: Screen) -> None:
    task_id = served.bury(value={"deep": [1]})
    assert dlq(served, screen, "show", task_id) == 0
    shown = screen.out.getvalue()
    assert task_id in shown
    assert "it would not work" in shown
    assert '"deep": [' in shown


def test_a_message_that_is_no_text_is_shown_by_its_first_bytes(served: Served, screen: Screen) -> None:
    task_id = served.bury(value=1, data=b"\xff\xfe\x00")
    assert dlq(served, screen, "show", task_id) == 0
    assert "3 bytes that are no text" in screen.out.getvalue()


def test_a_replay_gives_the_named_tasks_a_new_life_and_no_other(served: Served, screen: Screen) -> None:
    first, second, third = (served.bury(value=value) for value in range(3))
    assert dlq(served, screen, "replay", first, third, first) == 0
    assert [body["task_id"] for body in served.published] == [first, third]
    assert served.dead == [second]
    assert screen.said == "replayed 2 dead letters"


def test_a_replay_by_filter_takes_what_the_filter_means(served: Served, screen: Screen) -> None:
    wanted = served.bury(value=1, reason="timeout after 60 s")
    other = served.bury(value=2)
    assert dlq(served, screen, "replay", reason="timeout") == 0
    assert [body["task_id"] for body in served.published] == [wanted]
    assert served.dead == [other]


def test_a_replay_of_all_needs_the_word(served: Served, screen: Screen) -> None:
    served.bury(value=1)
    with pytest.raises(ConfigError, match="or --all"):
        dlq(served, screen, "replay")
    assert served.published == []
    assert dlq(served, screen, "replay", everything=True) == 0
    assert len(served.published) == 1


def test_more_than_a_page_is_replayed_whole(served: Served, screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = {served.bury(value=value) for value in range(7)}
    pages = served.api.pages
    monkeypatch.setattr(served.api, "pages", lambda path, key, **query: pages(path, key, **{**query, "page_size": "2"}))
    assert dlq(served, screen, "replay", everything=True) == 0
    assert {body["task_id"] for body in served.published} == ids


def test_fields_can_be_changed_at_a_replay_of_one_or_many(served: Served, screen: Screen) -> None:
    for _ in range(2):
        served.bury("data_transformation", dataset_size=3, columns=["a"])
    assert dlq(served, screen, "replay", "dataset_size=4", everything=True) == 0
    assert [(body["dataset_size"], body["columns"]) for body in served.published] == [(4, ["a"]), (4, ["a"])]


def test_a_whole_payload_can_be_given(served: Served, screen: Screen) -> None:
    task_id = served.bury(value=1)
    assert dlq(served, screen, "replay", task_id, payload='{"value": {"b": 2}}') == 0
    assert served.published[0]["value"] == {"b": 2}


def test_the_payload_can_be_edited(
    served: Served, screen: Screen, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    editor = tmp_path / "an editor"
    editor.write_text('#!/bin/sh\nsed -i.bak s/1/12/ "$1"\n')
    editor.chmod(editor.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("VISUAL", f"'{editor}'")
    task_id = served.bury(value=1)
    assert dlq(served, screen, "replay", task_id, edit=True) == 0
    assert served.published[0]["value"] == 12


def test_an_editor_that_fails_replays_nothing(served: Served, screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISUAL", "false")
    task_id = served.bury(value=1)
    with pytest.raises(ConfigError, match="ended with 1"):
        dlq(served, screen, "replay", task_id, edit=True)
    assert served.dead == [task_id]


def test_a_payload_that_the_api_refuses_leaves_the_dead_letter_and_ends_with_1(served: Served, screen: Screen) -> None:
    task_id = served.bury("data_transformation", dataset_size=3)
    assert dlq(served, screen, "replay", task_id, "dataset_size=0") == 1
    assert served.dead == [task_id]
    assert "payload.dataset_size" in screen.said


def test_a_task_that_is_not_there_ends_with_1(served: Served, screen: Screen) -> None:
    assert dlq(served, screen, "replay", "nonsense") == 1
    assert "there is no dead letter nonsense" in screen.said


def test_what_others_replay_meanwhile_is_no_failure(
    served: Served, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [served.bury(value=value) for value in range(2)]
    listed = list(served.api.pages("/dead-letters", "dead_letters"))
    served.api.post(f"/dead-letters/{ids[0]}:replay")
    monkeypatch.setattr(served.api, "pages", lambda *_, **__: iter(listed))
    assert dlq(served, screen, "replay", everything=True) == 0
    assert screen.said == "replayed 1 dead letter; 1 dealt with elsewhere meanwhile"


def test_when_the_api_goes_away_the_rest_is_counted_as_not_tried(
    served: Served, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in range(3):
        served.bury(value=value)
    listed = list(served.api.pages("/dead-letters", "dead_letters"))
    monkeypatch.setattr(served.api, "pages", lambda *_, **__: iter(listed))
    monkeypatch.setattr(served.api, "url", "http://127.0.0.1:1")
    assert dlq(served, screen, "replay", everything=True) == 1
    assert "does not answer" in screen.said
    assert screen.said.endswith("replayed 0 dead letters; 1 failed; 2 not tried")


def test_a_discard_is_for_good(served: Served, screen: Screen) -> None:
    task_id, kept = served.bury(value=1), served.bury(value=2)
    assert dlq(served, screen, "discard", task_id, yes=True) == 0
    assert served.dead == [kept]
    assert served.api.get(f"/tasks/{task_id}")["status"] == "failed"


def test_a_discard_asks_and_without_a_terminal_does_nothing(
    served: Served, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = served.bury(value=1)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(ConfigError, match="--yes"):
        dlq(served, screen, "discard", task_id)
    assert served.dead == [task_id]


def test_a_rate_spaces_the_replays(served: Served, screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    from poolhouse.client.units import Pace
    from poolhouse.commands.tasks import dlq as module

    slept: list[float] = []
    monkeypatch.setattr(module, "Pace", lambda per_s: Pace(per_s, clock=lambda: sum(slept), sleep=slept.append))
    for value in range(4):
        served.bury(value=value)
    assert dlq(served, screen, "replay", everything=True, rate="30/m") == 0
    assert slept == [2, 2, 2]


@pytest.mark.parametrize(
    ("line", "options", "said"),
    [
        ("burn", {}, "one of list, show, replay, discard"),
        ("list ID", {}, "dlq show ID"),
        ("list a=b", {}, "only a replay"),
        ("show", {}, "dlq show ID"),
        ("replay ID", {"queue": "bulk"}, "not both"),
        ("replay ID", {"everything": True}, "not both"),
        ("replay ID a=1", {"payload": "{}"}, "not several"),
        ("replay ID", {"payload": "{"}, "--payload is not JSON"),
        ("replay ID ID2", {"edit": True}, "one task"),
        ("replay", {"older": "soon"}, "--older 'soon'"),
        ("replay", {"everything": True, "rate": "fast"}, "--rate 'fast'"),
        ("list", {"limit": 0}, "--limit 0"),
    ],
)
def test_wrong_use_says_what_to_write(
    served: Served, screen: Screen, line: str, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        dlq(served, screen, *line.split(), **options)


@pytest.mark.parametrize("action", ["replay", "discard"])
def test_a_dry_run_counts_and_shows_and_changes_nothing(served: Served, screen: Screen, action: str) -> None:
    dead = {served.bury(value=value, reason="timeout") for value in range(12)}
    served.bury(value=13)
    writes = len(served.store.writes)
    assert dlq(served, screen, action, reason="timeout", dry_run=True) == 0
    assert screen.said == f"would {action} 12 dead letters; nothing was changed: this was a dry run"
    assert {row[0] for row in screen.rows[1:]} < dead
    assert len(screen.rows) == 11
    assert len(served.store.writes) == writes
    assert served.published == []


def test_a_dry_run_of_named_ones_looks_at_them(served: Served, screen: Screen) -> None:
    task_id = served.bury(value=1)
    assert dlq(served, screen, "replay", task_id, dry_run=True) == 0
    assert screen.rows[1][0] == task_id
    with pytest.raises(ApiError, match="no dead letter"):
        dlq(served, screen, "replay", "unheard-of", dry_run=True)


def test_a_cancelled_task_is_no_dead_one(served: Served, screen: Screen) -> None:
    task_id = served.api.post("/tasks", {"task_type": "anything", "delay_s": 86_400})["task_id"]
    served.api.post(f"/tasks/{task_id}:cancel")
    assert dlq(served, screen, "replay", task_id, yes=True) == 1
    assert f"no dead letter {task_id}: the task was cancelled, and only dead ones can be replayed" in screen.said
