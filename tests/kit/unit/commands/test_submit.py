from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from poolhouse.client.errors import ApiError
from poolhouse.commands.tasks import calls
from poolhouse.commands.tasks.submit import Submission
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.store import ABSENT
from poolhouse.pipeline.tasks import records, transitions
from poolhouse.pipeline.tasks.record_store import RecordStore
from poolhouse.pipeline.tasks.records import Outcome, TaskRecord
from tests.kit.unit.commands.conftest import Screen, Served


def submit(served: Served, screen: Screen, task_type: str, *words: str, **options: Any) -> int:
    submission = Submission(task_type=task_type, words=words, **options)
    return calls.submit(served.api, submission, terminal=screen.terminal)


class Worker:
    """Ends each task as soon as it is published, as a worker would."""

    def __init__(
        self, served: Served, monkeypatch: pytest.MonkeyPatch, *, reason: str = "", result: Any = None
    ) -> None:
        self._served, self._reason, self._result = served, reason, result
        publish = served.topics.publish

        def working(topic: str, messages: Any, *, timeout_s: float) -> Any:
            answer = publish(topic, messages, timeout_s=timeout_s)
            for message in messages:
                self._end(json.loads(message.data), message.attributes["queue"])
            return answer

        monkeypatch.setattr(served.topics, "publish", working)

    def _end(self, body: dict[str, Any], queue: str) -> None:
        now = self._served.clock()
        task = TaskMessage(
            task_id=body["task_id"], task_type=body["task_type"], submitted_at=now, queue=queue, payload={}
        )
        record = _ended(transitions.fresh(task, now=now), reason=self._reason, result=self._result, now=now)
        RecordStore(self._served.store).write(record, if_generation=ABSENT)


def _ended(record: TaskRecord, *, reason: str, result: Any, now: Any) -> TaskRecord:
    if reason:
        return transitions.died(record, reason=reason, now=now)
    attempt = records.Attempt(
        number=1, worker="w", started_at=now, ended_at=now + timedelta(seconds=1), outcome=Outcome.SUCCEEDED
    )
    return record.model_copy(
        update={"status": records.Status.SUCCEEDED, "attempts": (attempt,), "result": result, "updated_at": now}
    )


def test_without_waiting_the_output_is_the_id_alone(served: Served, screen: Screen) -> None:
    assert submit(served, screen, "anything", "value=1") == 0
    assert screen.out.getvalue().strip() == served.published[0]["task_id"]
    assert served.published[0]["value"] == 1


def test_values_are_json_and_what_is_none_is_text(served: Served, screen: Screen) -> None:
    for word in ("value=true", 'value={"a": [1, null]}', "value=a b", 'value="7"', "value=a=b", "value="):
        assert submit(served, screen, "anything", word) == 0
    assert [body["value"] for body in served.published] == [True, {"a": [1, None]}, "a b", "7", "a=b", ""]


def test_a_field_of_text_takes_what_looks_like_a_number_as_text(served: Served, screen: Screen) -> None:
    assert submit(served, screen, "file_processing", "filename=2026", "processing_time=1.5") == 0
    assert (served.published[0]["filename"], served.published[0]["processing_time"]) == ("2026", 1.5)


def test_the_queue_can_be_chosen(served: Served, screen: Screen) -> None:
    assert submit(served, screen, "anything", queue="bulk") == 0
    assert served.topics.published[0].topic == "poolhouse-bulk"


def test_waiting_prints_the_result_as_json(served: Served, screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    Worker(served, monkeypatch, result={"rows": 3, "name": "café"})
    assert submit(served, screen, "anything", wait=True) == 0
    assert json.loads(screen.out.getvalue()) == {"rows": 3, "name": "café"}


def test_watching_reports_the_end(served: Served, screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    Worker(served, monkeypatch, result=1)
    assert submit(served, screen, "anything", watch=True) == 0
    assert screen.said.splitlines()[-1] == "succeeded"


def test_a_result_can_be_saved(served: Served, screen: Screen, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Worker(served, monkeypatch, result=[1, 2])
    assert submit(served, screen, "anything", output=str(tmp_path / "r.json")) == 0
    assert json.loads((tmp_path / "r.json").read_text()) == [1, 2]
    assert screen.out.getvalue() == ""


def test_a_result_that_can_not_be_saved_says_that_it_is_kept(
    served: Served, screen: Screen, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Worker(served, monkeypatch, result=[1, 2])
    with pytest.raises(ConfigError, match="its result is kept"):
        submit(served, screen, "anything", output=str(tmp_path / "no" / "folder"))


def test_a_task_that_dies_ends_with_1_and_the_reason(
    served: Served, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    Worker(served, monkeypatch, reason="no [such] table")
    assert submit(served, screen, "anything", wait=True) == 1
    assert "dead: no [such] table" in screen.said
    assert "./invoke dlq show" in screen.said
    assert screen.out.getvalue() == ""


def test_an_unknown_task_type_names_those_there_are(served: Served, screen: Screen) -> None:
    with pytest.raises(
        ConfigError, match=r"'nope' \(there are: anything, data_transformation, file_processing, stamped\)"
    ):
        submit(served, screen, "nope")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nope=1",), "no field 'nope'.*filename"),
        (("filename",), "write key=value, such as filename="),
        (("=1",), "write key=value"),
        (("filename=a", "filename=b"), "given twice"),
    ],
)
def test_wrong_words_say_what_to_write(served: Served, screen: Screen, words: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        submit(served, screen, "file_processing", *words)
    assert served.published == []


def test_what_the_api_refuses_is_shown_with_its_message(served: Served, screen: Screen) -> None:
    with pytest.raises(ApiError, match=r"payload\.dataset_size: is required"):
        submit(served, screen, "data_transformation")


def test_a_file_for_a_task_that_takes_none_is_refused(served: Served, screen: Screen, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    with pytest.raises(ConfigError, match="takes no uploaded file"):
        submit(served, screen, "anything", file=str(tmp_path / "f"))


def test_a_file_that_is_not_there_is_named(served: Served, screen: Screen) -> None:
    with pytest.raises(ConfigError, match="no file nowhere"):
        submit(served, screen, "file_processing", file="nowhere")


def test_a_listing_of_tasks_can_be_chosen_from(served: Served, screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    Worker(served, monkeypatch, result=1)
    submit(served, screen, "anything")
    submit(served, screen, "data_transformation", "dataset_size=1")
    for options, count in (({}, 2), ({"task_type": "anything"}, 1), ({"status": "dead"}, 0), ({"limit": 1}, 1)):
        shown = Screen()
        assert calls.tasks(served.api, (), as_json=True, terminal=shown.terminal, **options) == 0  # type: ignore[arg-type]
        assert len(shown.rows) == count
    shown = Screen()
    assert calls.tasks(served.api, (), terminal=shown.terminal) == 0
    assert shown.rows[0] == ["task", "type", "queue", "status", "submitted", "changed", "reason"]
    assert {row[3] for row in shown.rows[1:]} == {"succeeded"}


def test_one_task_is_shown_with_its_attempts(served: Served, screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    Worker(served, monkeypatch, result={"rows": 3})
    submit(served, screen, "anything")
    shown = Screen()
    assert calls.tasks(served.api, [screen.out.getvalue().strip()], terminal=shown.terminal) == 0
    assert "attempt 1  succeeded" in shown.out.getvalue()
    assert '"rows": 3' in shown.out.getvalue()


def test_a_task_that_no_worker_has_touched_is_shown_as_queued(served: Served, screen: Screen) -> None:
    submit(served, screen, "anything")
    shown = Screen()
    assert calls.tasks(served.api, [screen.out.getvalue().strip()], terminal=shown.terminal) == 0
    assert "queued" in shown.out.getvalue()


def test_a_status_that_is_none_is_refused(served: Served, screen: Screen) -> None:
    with pytest.raises(ConfigError, match="one of scheduled, queued, running"):
        calls.tasks(served.api, (), status="done", terminal=screen.terminal)


def test_a_task_is_submitted_for_later_listed_moved_run_and_cancelled(served: Served, screen: Screen) -> None:
    assert submit(served, screen, "anything", delay="2h") == 0
    [[task_id]] = screen.rows
    assert "scheduled" in screen.err.getvalue()
    listed = Screen()
    calls.tasks(served.api, (), status="scheduled", terminal=listed.terminal)
    assert listed.rows[1][0] == task_id
    shown = Screen()
    calls.tasks(served.api, (task_id,), terminal=shown.terminal)
    assert "not before 2026-03-01T14:00:00Z" in shown.out.getvalue()
    moved = Screen()
    assert calls.tasks(served.api, (task_id,), run_at="2026-03-02T00:00:00Z", terminal=moved.terminal) == 0
    assert served.api.get(f"/tasks/{task_id}")["not_before"] == "2026-03-02T00:00:00Z"
    assert calls.tasks(served.api, (task_id,), run_now=True, terminal=moved.terminal) == 0
    assert served.published[-1]["task_id"] == task_id
    assert calls.tasks(served.api, (task_id,), cancel=True, terminal=moved.terminal) == 0
    assert served.api.get(f"/tasks/{task_id}")["status"] == "cancelled"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"delay": "soon"}, "--delay 'soon'"),
        ({"delay": "1h", "run_at": "2030-01-31T08:00:00Z"}, "give one of them"),
        ({"run_now": True, "cancel": True}, "give one of them"),
        ({"run_now": True}, "which task"),
    ],
)
def test_a_time_that_can_not_be_is_a_wrong_use(
    served: Served, screen: Screen, options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        calls.tasks(served.api, (), terminal=screen.terminal, **options)
    if "delay" in options:
        with pytest.raises(ConfigError, match=problem):
            submit(served, screen, "anything", **options)
