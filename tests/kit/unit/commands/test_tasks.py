from __future__ import annotations

import io
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from poolhouse.client.errors import ApiError
from poolhouse.commands.exit_code import exit_code
from poolhouse.commands.tasks import calls, listing
from poolhouse.commands.tasks.submit import Submission
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.exit_codes import USAGE
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.tasks import transitions
from poolhouse.pipeline.tasks.record_store import RecordStore
from poolhouse.pipeline.tasks.records import ErrorInfo, Step, TaskRecord
from tests.kit.unit.commands.conftest import Screen, Served

TRACEBACK = 'Traceback (most recent call last):\n  File "greet.py", line 7, in greet\nKeyError: [red]'


def claimed(served: Served, task_id: str) -> TaskRecord:
    now = served.clock()
    task = TaskMessage(task_id=task_id, task_type="anything", submitted_at=now, queue="default", payload={"value": 1})
    claim = transitions.claim(None, task, owner="o", worker="w-1", now=now, lease_s=60, max_attempts=5)
    assert isinstance(claim, transitions.Run)
    return claim.record


def keep(served: Served, record: TaskRecord) -> None:
    kept = RecordStore(served.store)
    kept.write(record, if_generation=kept.generation(record.task_id))


def died(served: Served, task_id: str) -> TaskRecord:
    error = ErrorInfo(type="KeyError", message="'name'", traceback=TRACEBACK)
    return transitions.died(claimed(served, task_id), reason="no attempt left", now=served.clock(), error=error)


def submitted(served: Served) -> str:
    task_id: str = served.api.post("/tasks", {"task_type": "anything", "payload": {"value": 1}})["task_id"]
    return task_id


def test_a_task_is_shown_with_the_traceback_of_its_newest_failure(served: Served, screen: Screen) -> None:
    task_id = submitted(served)
    keep(served, died(served, task_id))
    assert calls.tasks(served.api, [task_id], terminal=screen.terminal) == 0
    shown = screen.out.getvalue()
    assert "KeyError: 'name'" in shown
    assert '      File "greet.py", line 7, in greet\n    KeyError: [red]\n' in shown


def test_a_task_is_shown_with_its_steps_and_its_cursor(served: Served, screen: Screen) -> None:
    task_id, now = submitted(served), served.clock()
    step = Step(name="page [1]", attempt=2, started_at=now, ended_at=now + timedelta(seconds=7), size_bytes=1200)
    keep(served, claimed(served, task_id).model_copy(update={"steps": (step,), "cursor": {"row": 7}}))
    assert calls.tasks(served.api, [task_id], terminal=screen.terminal) == 0
    shown = screen.out.getvalue()
    assert "  step page [1]  attempt 2  7 s  1.2 kB\n" in shown
    assert '  cursor     {"row": 7}\n' in shown


@pytest.mark.parametrize(("limit", "said"), [(1, "the newest 1 of 2; --limit shows more"), (2, "")])
def test_a_listing_says_when_there_is_more(served: Served, screen: Screen, limit: int, said: str) -> None:
    for _ in range(2):
        submitted(served)
    assert listing.show_list(served.api, {}, limit=limit, as_json=False, terminal=screen.terminal) == 0
    assert screen.said == said


@pytest.mark.parametrize("by", ["trigger", "schedule"])
def test_a_task_is_shown_with_what_submitted_it_and_found_by_it(served: Served, screen: Screen, by: str) -> None:
    task_id, other = submitted(served), submitted(served)
    for each, origin in ((task_id, "tables"), (other, "others")):
        keep(served, claimed(served, each).model_copy(update={by: origin}))
    assert calls.tasks(served.api, [task_id], terminal=screen.terminal) == 0
    assert f"  {by:<10} tables\n" in screen.out.getvalue()
    chosen: dict[str, Any] = {by: "tables"}
    assert listed(served, **chosen) == [task_id]


def test_a_dead_letter_is_shown_with_the_traceback(served: Served, screen: Screen) -> None:
    task_id = served.bury(value=1, before=lambda task_id: keep(served, died(served, task_id)))
    assert calls.dlq(served.api, "show", [task_id], terminal=screen.terminal) == 0
    assert 'File "greet.py", line 7' in screen.out.getvalue()


@pytest.mark.parametrize(("ends", "code"), [("succeeded", 0), ("dead", 1)])
def test_a_task_is_followed_to_its_end(served: Served, screen: Screen, ends: str, code: int) -> None:
    task_id = submitted(served)
    end = died(served, task_id)
    if ends == "succeeded":
        end = transitions.succeeded(claimed(served, task_id), now=served.clock(), result=7)
    keep(served, end)
    assert calls.tasks(served.api, [task_id], follow=True, as_json=True, terminal=screen.terminal) == code
    events = [json.loads(line) for line in screen.out.getvalue().splitlines()]
    assert (events[-1]["task_id"], events[-1]["event"], events[-1]["status"]) == (task_id, "status", ends)


def submit(served: Served, screen: Screen, *words: str, **options: Any) -> int:
    submission = Submission(task_type="data_transformation", words=words, **options)
    return calls.submit(served.api, submission, terminal=screen.terminal)


def test_a_payload_comes_from_the_command_line_a_file_or_standard_input(
    served: Served, screen: Screen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "payload.json").write_text('{"dataset_size": 4}')
    monkeypatch.setattr("sys.stdin", io.StringIO('{"dataset_size": 5}'))
    for given in ('{"dataset_size": 3}', f"@{tmp_path}/payload.json", "-"):
        assert submit(served, screen, payload=given) == 0
    assert submit(served, screen, "dataset_size=6", payload='{"dataset_size": 3, "columns": ["a"]}') == 0
    assert [body["dataset_size"] for body in served.published] == [3, 4, 5, 6]
    assert served.published[-1]["columns"] == ["a"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("{", "--payload is not JSON"),
        ('{"dataset_size": NaN}', "--payload is not JSON"),
        ('{"dataset_size": 1e999}', "--payload is not JSON: the body.dataset_size is inf"),
        ('{"a": "\\ud800"}', "--payload is not JSON"),
        ('{"a": ' + "[" * 5_000 + "]" * 5_000 + "}", "--payload is not JSON"),
        ("[1]", "a payload is a JSON object.*, not an array"),
        ("@nowhere.json", "there is no file nowhere.json"),
        (str(Path(__file__)), f"the payload in a file is --payload @{Path(__file__)}"),
        ("-", "standard input is not JSON"),
    ],
)
def test_a_payload_that_is_none_is_wrong_use(
    served: Served, screen: Screen, given: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("no json"))
    with pytest.raises(ConfigError, match=said):
        submit(served, screen, payload=given)
    assert served.published == []


@pytest.mark.parametrize("text", ["NaN", "1e999", "9" * 5_000, "[" * 5_000, '"\\ud800"'])
def test_what_json_has_no_number_for_is_no_field_of_a_payload(served: Served, screen: Screen, text: str) -> None:
    with pytest.raises(ApiError, match="dataset_size"):
        submit(served, screen, f"dataset_size={text}")
    assert served.published == []


def test_an_argument_that_is_not_utf_8_is_wrong_use(
    served: Served, screen: Screen, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(submit, served, screen, "columns=caf\udce9") == USAGE
    assert "'caf\\xe9' is not UTF-8" in capsys.readouterr().err
    assert served.published == []


def listed(served: Served, **options: Any) -> list[str]:
    screen = Screen()
    assert calls.tasks(served.api, (), as_json=True, terminal=screen.terminal, **options) == 0
    return [json.loads(line)["task_id"] for line in screen.out.getvalue().splitlines()]


def test_tasks_are_chosen_by_several_statuses_text_id_and_age(served: Served, screen: Screen) -> None:
    dead, untouched = submitted(served), submitted(served)
    keep(served, died(served, dead))
    assert set(listed(served)) == {dead, untouched}
    assert listed(served, status="failed,dead") == [dead]
    assert set(listed(served, status="dead,queued")) == {dead, untouched}
    assert listed(served, id_prefix=untouched) == [untouched]
    assert listed(served, text="NO ATTEMPT LEFT") == [dead]
    assert listed(served, newer="1m") == []  # the stack's clock is months back
    assert set(listed(served, older="1m")) == {dead, untouched}
    assert calls.tasks(served.api, (), status="queued", count=True, terminal=screen.terminal) == 0
    assert screen.out.getvalue() == "1\n"


def test_the_children_of_a_task_and_the_members_of_a_group_are_listed(served: Served) -> None:
    parent, child = submitted(served), submitted(served)
    keep(served, claimed(served, child).model_copy(update={"parent_id": parent}))
    assert listed(served, parent_id=parent) == [child]
    group = served.api.post("/groups", {"tasks": [{"task_type": "anything"}] * 2})["group_id"]
    assert len(listed(served, group_id=group)) == 2


def test_an_unknown_status_among_several_is_wrong_use(served: Served, screen: Screen) -> None:
    with pytest.raises(ConfigError, match=r"--status 'daed': one of .* Did you mean 'dead'"):
        calls.tasks(served.api, (), status="failed,daed", terminal=screen.terminal)


def test_what_changes_is_followed_and_what_was_there_is_not_told(
    served: Served, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("poolhouse.commands.tasks.listing.now", served.clock)
    known = submitted(served)
    made: list[str] = []

    def sleep(seconds: float) -> None:
        if len(made) == 3:
            raise KeyboardInterrupt
        served.clock.forward(seconds)
        made.append(submitted(served))

    with pytest.raises(KeyboardInterrupt):
        listing.follow_list(served.api, {}, as_json=True, terminal=screen.terminal, sleep=sleep)
    told = [json.loads(line)["task_id"] for line in screen.out.getvalue().splitlines()]
    assert told == made
    assert known not in told


def test_a_rebuild_says_what_was_wrong(served: Served, screen: Screen) -> None:
    listed(served)
    keep(served, died(served, submitted(served)))  # past the journal, as a killed worker
    assert calls.index(served.api, "rebuild", terminal=screen.terminal) == 0
    assert screen.out.getvalue().endswith("1 corrected in the index, 0 removed from it\n")
