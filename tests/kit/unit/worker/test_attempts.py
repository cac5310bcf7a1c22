"""One delivery, from claim to ack: what is durable before what, and what a second delivery finds."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from poolhouse.pipeline import names
from poolhouse.pipeline.control.filters import Filter
from poolhouse.pipeline.errors import StoreUnavailable
from poolhouse.pipeline.messaging.message import TaskMessage, decode
from poolhouse.pipeline.messaging.publisher import Publisher
from poolhouse.pipeline.tasks import records, transitions
from poolhouse.pipeline.tasks.dead_letter_attributes import EARLIER_DELIVERIES, REASON
from poolhouse.pipeline.tasks.record_store import Stored
from poolhouse.pipeline.tasks.records import Outcome, Status, TaskRecord
from poolhouse.pipeline.timing.timers import Timers
from poolhouse.worker.errors import TaskCancelled, WorkerStopping
from tests.kit.unit.worker import handlers
from tests.kit.unit.worker.conftest import Engine, FakeDelivery
from tests.kit.waiting import until


@pytest.fixture(autouse=True)
def _fresh_event() -> None:
    handlers.go_on.clear()


def test_a_task_that_succeeds_costs_two_writes_and_is_acked(engine: Engine) -> None:
    delivery = engine.task("echo", n=3)
    engine.attempts.process(delivery)
    assert delivery.ended == ["ack"]
    record = engine.record()
    assert (record.status, record.result, record.attempts[0].outcome) == (Status.SUCCEEDED, {"n": 3}, Outcome.SUCCEEDED)
    assert engine.store.writes == [names.claim("t-1"), names.record("t-1")]


def test_a_task_that_succeeds_costs_no_call_but_its_two_writes(engine: Engine) -> None:
    engine.attempts.process(engine.task("echo", n=3))
    assert engine.store.calls == 2


@pytest.mark.parametrize(("attempt", "costs"), [(1, 3), (2, 1)])
def test_a_duplicate_costs_a_read_and_where_none_was_expected_the_claim_that_fails_and_a_look_whose_it_is(
    engine: Engine, attempt: int, costs: int
) -> None:
    engine.attempts.process(engine.task("echo", n=3))
    calls = engine.store.calls
    engine.another("worker-2").process(engine.task("echo", n=3, attempt=attempt))
    assert engine.store.calls - calls == costs
    assert len(engine.store.writes) == 2


def test_a_task_that_returns_nothing_costs_no_more_than_another(engine: Engine) -> None:
    engine.attempts.process(engine.task("nothing"))
    assert engine.record().status is Status.SUCCEEDED
    assert engine.store.writes == [names.claim("t-1"), names.record("t-1")]


def test_start_and_end_of_an_attempt_are_logged_with_its_duration_and_an_unrecorded_one_is_silent(
    engine: Engine,
) -> None:
    for task_type, level, outcome in (
        ("echo", "info", "succeeded"),
        ("boom", "info", "retried"),
        ("light", "debug", "succeeded"),
    ):
        with capture_logs() as lines:
            engine.attempts.process(engine.task(task_type, f"t-{task_type}"))
        started, ended = (line for line in lines if line["event"] in {"task started", "task ended"})
        assert (started["event"], started["log_level"], ended["log_level"]) == ("task started", level, level)
        assert (started["task_id"], started["attempt"]) == (f"t-{task_type}", 1)
        assert (ended["outcome"], ended["duration_s"]) == (outcome, 0.0)


def test_a_duplicate_of_a_finished_task_runs_nothing(engine: Engine) -> None:
    engine.attempts.process(engine.task("echo", n=3))
    duplicate = engine.task("echo", n=3, attempt=2)
    engine.another("worker-2").process(duplicate)
    assert duplicate.ended == ["ack"]
    assert handlers.runs == ["t-1"]


def test_a_delivery_of_a_running_task_waits_for_the_lease(engine: Engine) -> None:
    first = threading.Thread(target=engine.attempts.process, args=(engine.task("wait"),))
    first.start()
    until(lambda: handlers.runs)
    second = engine.task("wait", attempt=2)
    engine.another("worker-2").process(second)
    handlers.go_on.set()
    first.join()
    assert second.ended == [("defer", pytest.approx(engine.settings.topology.default_queue.ack_deadline_s))]
    assert handlers.runs == ["t-1"]


def test_a_worker_that_died_loses_the_task_to_the_next_one_once_its_lease_is_over(engine: Engine) -> None:
    task = engine.task("echo", n=1)
    dead = transitions.claim(
        None,
        _message(task, engine),
        owner="dead",
        worker="worker-0",
        now=engine.clock.now,
        lease_s=20,
        max_attempts=5,
    )
    assert isinstance(dead, transitions.Run)
    engine.records.write(dead.record, if_generation=0)
    engine.clock.forward(21)
    engine.attempts.process(task)
    assert [attempt.outcome for attempt in engine.record().attempts] == [Outcome.LOST, Outcome.SUCCEEDED]
    assert [attempt.worker for attempt in engine.record().attempts] == ["worker-0", "worker-1"]


def lose_answer(engine: Engine, *, of_write: int) -> None:
    """The nth write of a record takes effect, but storage does not answer in time."""

    def after(name: str) -> None:
        if engine.store.writes.count(name) == of_write:
            raise StoreUnavailable("no answer")

    engine.store.after_write = after


def test_a_claim_that_took_effect_without_an_answer_is_the_same_attempt(engine: Engine) -> None:
    lose_answer(engine, of_write=1)
    delivery = engine.task("echo", n=3)
    engine.attempts.process(delivery)
    assert delivery.ended == ["ack"]
    assert [attempt.outcome for attempt in engine.record().attempts] == [Outcome.SUCCEEDED]
    assert engine.store.writes == [names.claim("t-1"), names.record("t-1")]


def test_a_result_that_took_effect_without_an_answer_is_acked_at_once(engine: Engine) -> None:
    lose_answer(engine, of_write=2)
    delivery = engine.task("echo", n=3)
    engine.attempts.process(delivery)
    assert delivery.ended == ["ack"]
    assert engine.record().result == {"n": 3}
    assert (engine.attempts.counts["succeeded"], engine.attempts.counts["duplicates"]) == (1, 0)
    assert engine.store.writes == [names.claim("t-1"), names.record("t-1")]


def test_a_failed_attempt_that_took_effect_without_an_answer_is_retried_as_ever(engine: Engine) -> None:
    lose_answer(engine, of_write=2)
    delivery = engine.task("boom")
    engine.attempts.process(delivery)
    assert delivery.ended == ["nack"]
    assert [attempt.outcome for attempt in engine.record().attempts] == [Outcome.FAILED]


def test_a_death_that_took_effect_without_an_answer_is_counted(engine: Engine) -> None:
    task = engine.task("echo", n=1)
    _lose_all_attempts(engine, task)
    lose_answer(engine, of_write=2)
    engine.attempts.process(task)
    assert engine.record().status is Status.DEAD
    assert (engine.attempts.counts["dead"], engine.attempts.counts["duplicates"]) == (1, 0)


def test_an_error_is_recorded_and_the_message_nacked(engine: Engine) -> None:
    delivery = engine.task("boom")
    engine.attempts.process(delivery)
    record = engine.record()
    assert delivery.ended == ["nack"]
    assert record.status is Status.QUEUED
    error = record.attempts[0].error
    assert error is not None
    assert (error.type, error.message) == ("RuntimeError", "boom")
    assert "handlers.py" in (error.traceback or "")


@pytest.mark.parametrize("task_type", ["leave", "leave_coroutine"])
def test_a_handler_that_exits_is_a_failed_attempt_and_ends_nothing_else(engine: Engine, task_type: str) -> None:
    delivery = engine.task(task_type)
    engine.attempts.process(delivery)
    assert delivery.ended == ["nack"]
    error = engine.record().attempts[0].error
    assert error is not None
    assert "SystemExit" in f"{error.type}: {error.message}"
    after = engine.task("coroutine", "t-2", n=1)
    engine.attempts.process(after)
    assert engine.record("t-2").status is Status.SUCCEEDED


def test_the_last_attempt_sends_the_message_to_the_dead_letters(engine: Engine) -> None:
    for attempt in range(1, 6):
        delivery = engine.task("boom", attempt=attempt)
        engine.attempts.process(delivery)
    assert delivery.ended == ["ack"]
    assert engine.record().status is Status.DEAD
    assert [letter[REASON] for letter in engine.dead_letters] == [
        "all 5 attempts used up; the last one: RuntimeError: boom"
    ]
    assert len(engine.record().attempts) == 5


def test_a_handlers_own_limit_of_attempts_beats_the_queues(engine: Engine) -> None:
    engine.attempts.process(engine.task("once"))
    assert engine.record().status is Status.DEAD


def test_a_rejected_task_fails_for_good_with_its_reason(engine: Engine) -> None:
    delivery = engine.task("reject")
    engine.attempts.process(delivery)
    assert delivery.ended == ["ack"]
    assert (engine.record().status, engine.record().reason) == (Status.FAILED, "not this one")
    assert engine.dead_letters[0][REASON] == "not this one"


def test_a_retry_at_a_later_time_is_not_started_before(engine: Engine) -> None:
    delivery = engine.task("later")
    engine.attempts.process(delivery)
    assert delivery.ended == [("defer", 90)]
    engine.clock.forward(60)
    early = engine.task("later", attempt=2)
    engine.attempts.process(early)
    assert early.ended == [("defer", 30)]
    assert len(engine.record().attempts) == 1


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not JSON"),
        (b"\xff\x00", "not JSON"),
        (b"[1]", "not an object"),
        (b"{}", "task_type is required"),
        (b'{"task_type": 5}', "task_type is required"),
        (b'{"task_type": "echo", "task_id": "../x"}', "task id"),
        (b'{"task_type": "echo", "submitted_at": "yesterday"}', "submitted_at"),
        (b'{"task_type": "nobody"}', "unknown task type: nobody"),
    ],
)
def test_what_can_not_be_read_goes_to_the_dead_letters_with_the_reason(
    engine: Engine, data: bytes, reason: str
) -> None:
    delivery = engine.delivery(data)
    engine.attempts.process(delivery)
    assert delivery.ended == ["ack"]
    assert reason in engine.dead_letters[0][REASON]


def test_a_payload_that_does_not_fit_fails_for_good_naming_the_field(engine: Engine) -> None:
    engine.attempts.process(engine.task("echo", n="many"))
    assert engine.record().status is Status.FAILED
    assert "n: Input should be a valid integer" in (engine.record().reason or "")


def test_a_message_published_by_hand_is_the_same_task_at_each_delivery(engine: Engine) -> None:
    for _ in range(2):
        engine.attempts.process(engine.delivery(b'{"task_type": "echo", "n": 4}', message_id="by-hand"))
    assert len(handlers.runs) == 1


def test_a_large_result_is_an_object_of_its_own_that_no_second_run_replaces(engine: Engine) -> None:
    name = names.result("big", "t-1")
    engine.store.put(name, b'"the first result"')
    engine.attempts.process(engine.task("big", n=100_000))
    record = engine.record()
    assert record.result_object is not None
    assert record.result_object.name == name
    assert engine.store.get(name)[0] == b'"the first result"'
    assert record.result == "the first result"


def test_a_result_wanted_as_a_file_is_in_the_record_too(engine: Engine) -> None:
    engine.attempts.process(engine.task("report", n=8))
    assert engine.record().result == {"n": 8}
    assert json.loads(engine.store.get("results/report_t-1.json")[0]) == {"n": 8}


def test_follow_ups_are_published_after_success_and_again_by_a_duplicate_with_the_same_ids(engine: Engine) -> None:
    engine.attempts.process(engine.task("parent"))
    engine.attempts.process(engine.task("parent", attempt=2))
    submitted = [
        (message.topic, message.message.attributes["task_id"])
        for message in engine.topics.published
        if not message.topic.endswith("dead-letters")
    ]
    assert len(submitted) == 4
    assert submitted[:2] == submitted[2:]
    assert [task_id for _, task_id in submitted[:2]] == engine.record().result
    assert [topic for topic, _ in submitted[:2]] == ["poolhouse-default", "poolhouse-urgent"]


@pytest.mark.parametrize("task_type", ["referring_parent", "referring_coroutine"])
def test_what_a_handler_submits_by_a_reference_is_its_follow_up(engine: Engine, task_type: str) -> None:
    engine.attempts.process(engine.task(task_type))
    follow_ups = engine.record().follow_ups
    assert [(each.task_type, each.queue, each.payload) for each in follow_ups] == [
        ("echo", "default", {"n": 1}),
        ("echo", "urgent", {"n": 2}),
    ]
    assert [each.task_id for each in follow_ups] == engine.record().result


def test_follow_ups_of_a_failed_attempt_are_not_published(engine: Engine) -> None:
    engine.attempts.process(engine.task("failing_parent"))
    assert engine.topics.published == []


def test_a_cancelled_task_never_starts(engine: Engine) -> None:
    task = engine.task("echo")
    fresh = transitions.fresh(_message(task, engine), now=engine.clock.now)
    engine.records.write(transitions.cancel_requested(fresh, now=engine.clock.now), if_generation=0)
    engine.attempts.process(task)
    assert task.ended == ["ack"]
    assert handlers.runs == []


def test_a_record_made_by_a_cancel_call_learns_from_the_message_what_task_it_was(engine: Engine) -> None:
    task = engine.task("echo", n=4)
    unknown = records.TaskRecord(
        task_id="t-1",
        task_type="",
        queue="",
        status=Status.CANCELLED,
        submitted_at=engine.clock.now,
        updated_at=engine.clock.now,
        reason="cancelled",
    )
    engine.records.write(unknown, if_generation=0)
    engine.attempts.process(task)
    engine.attempts.process(engine.task("echo", n=4, attempt=2))
    record = engine.record()
    assert (record.status, record.task_type, record.queue, record.payload) == (
        Status.CANCELLED,
        "echo",
        "default",
        {"n": 4},
    )
    assert len(engine.store.writes) == 2
    assert [summary.task_type for summary in engine.records.page(Filter(queue="default")).records] == ["echo"]


def test_a_running_task_learns_that_it_was_cancelled(engine: Engine) -> None:
    task = engine.task("wait")
    thread = threading.Thread(target=engine.attempts.process, args=(task,))
    thread.start()
    until(lambda: handlers.runs)
    stored = engine.records.read("t-1")
    assert stored is not None
    engine.records.write(
        transitions.cancel_requested(stored.record, now=engine.clock.now), if_generation=stored.generation
    )
    for running in engine.heartbeat.tasks():
        running.look()
    thread.join(5)
    assert task.ended == ["ack"]
    assert engine.record().status is Status.CANCELLED


def test_a_cancel_call_that_comes_too_late_does_not_undo_the_result(engine: Engine) -> None:
    task = engine.task("wait")
    thread = threading.Thread(target=engine.attempts.process, args=(task,))
    thread.start()
    until(lambda: handlers.runs)
    stored = engine.records.read("t-1")
    assert stored is not None
    engine.records.write(
        transitions.cancel_requested(stored.record, now=engine.clock.now), if_generation=stored.generation
    )
    handlers.go_on.set()
    thread.join(5)
    assert (engine.record().status, engine.record().result) == (Status.SUCCEEDED, "went on")


def test_a_worker_that_lost_the_lease_leaves_the_record_alone(engine: Engine) -> None:
    task = engine.task("wait")
    thread = threading.Thread(target=engine.attempts.process, args=(task,))
    thread.start()
    until(lambda: handlers.runs)
    engine.clock.forward(21)  # the first worker slept through its lease
    engine.claim(_message(task, engine), engine.records.read("t-1"), owner="2")
    handlers.go_on.set()
    thread.join(5)
    assert task.ended == [("defer", 20)]
    assert engine.record().owner == "2"
    assert engine.record().result is None


def test_a_stopping_worker_hands_over_what_it_runs_and_the_attempt_does_not_count(engine: Engine) -> None:
    task = engine.task("wait")
    thread = threading.Thread(target=engine.attempts.process, args=(task,))
    thread.start()
    until(engine.heartbeat.tasks)
    for running in engine.heartbeat.tasks():
        running.interrupt(WorkerStopping("stop"))
    thread.join(5)
    assert task.ended == [("hand over", "t-1")]
    record = engine.record()
    assert (record.status, record.attempts[0].outcome, record.counted_attempts) == (Status.QUEUED, Outcome.STOPPED, 0)


def test_a_time_limit_ends_a_handler_at_its_checkpoint(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    task = engine.task("wait")
    thread = threading.Thread(target=engine.attempts.process, args=(task,))
    thread.start()
    until(engine.heartbeat.tasks)
    now = time.monotonic()
    monkeypatch.setattr(engine.heartbeat, "_monotonic", lambda: now + 2)
    engine.heartbeat.tick()
    thread.join(5)
    assert task.ended == ["nack"]
    error = engine.record().attempts[0].error
    assert error is not None
    assert (error.type, error.message) == ("TaskTimeout", "the handler ran longer than 1 s")


def test_a_handler_that_heeds_nothing_is_given_up_at_the_hard_limit(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = engine.task("deaf")
    thread = threading.Thread(target=engine.attempts.process, args=(task,))
    thread.start()
    until(engine.heartbeat.tasks)
    now = time.monotonic()
    monkeypatch.setattr(engine.heartbeat, "_monotonic", lambda: now + 60)
    engine.heartbeat.tick()
    assert task.ended == ["nack"]
    assert engine.abandoned == [thread.ident]
    handlers.go_on.set()
    thread.join(5)
    assert task.ended == ["nack"]
    assert engine.record().status is Status.QUEUED


def test_a_handler_that_heeds_no_cancel_call_is_cancelled_at_the_hard_limit(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = engine.task("deaf")
    thread = threading.Thread(target=engine.attempts.process, args=(task,))
    thread.start()
    until(engine.heartbeat.tasks)
    engine.heartbeat.tasks()[0].interrupt(TaskCancelled("cancelled"))
    now = time.monotonic()
    monkeypatch.setattr(engine.heartbeat, "_monotonic", lambda: now + 60)
    engine.heartbeat.tick()
    assert (task.ended, engine.record().status) == (["ack"], Status.CANCELLED)
    handlers.go_on.set()
    thread.join(5)
    assert task.ended == ["ack"]


@pytest.mark.parametrize(
    ("task_type", "error"),
    [("stops_itself", ("WorkerStopping", "I say so")), ("broken_model", ("KeyError", "'missing'"))],
)
def test_an_odd_error_is_a_failed_attempt_with_its_reason(
    engine: Engine, task_type: str, error: tuple[str, str]
) -> None:
    task = engine.task(task_type)
    engine.attempts.process(task)
    assert task.ended == ["nack"]
    found = engine.record().attempts[0].error
    assert found is not None
    assert (found.type, found.message) == error


TRACED = """
import sys
from tests.kit.unit.worker.conftest import Engine
engine = Engine()
sys.setprofile(lambda frame, event, argument: None)  # as coverage and profilers do
for number in range(3):
    engine.attempts.process(engine.task("echo", f"t-{number}", n=number))
print(engine.attempts.counts["succeeded"])
"""


def test_a_traced_worker_goes_on_after_its_first_task() -> None:
    # A flag that a handler's end left up made CPython before 3.13 loop for ever where it was traced.
    ran = subprocess.run([sys.executable, "-c", TRACED], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.stdout.splitlines()[-1:], ran.returncode) == (["3"], 0), ran.stderr


def test_a_coroutine_handler_runs_on_the_loop(engine: Engine) -> None:
    engine.attempts.process(engine.task("coroutine", n=4))
    assert engine.record().result == 5


def test_a_task_without_a_record_writes_nothing_and_dies_by_pubsubs_count(engine: Engine) -> None:
    engine.attempts.process(engine.task("light"))
    failing = engine.task("light", n=1)
    engine.attempts.process(failing)
    last = engine.task("light", n=1, attempt=2)
    engine.attempts.process(last)
    assert (failing.ended, last.ended) == (["nack"], ["ack"])
    assert len(engine.dead_letters) == 1
    assert engine.store.writes == []


def test_storage_that_fails_is_waited_for(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poolhouse.worker.runtime.retrying.FIRST_WAIT_S", 0.001)
    engine.store.failure = StoreUnavailable("down")
    task = engine.task("echo", n=1)
    thread = threading.Thread(target=engine.attempts.process, args=(task,))
    thread.start()
    calls = engine.store.calls
    until(lambda: engine.store.calls > calls + 2)
    assert task.ended == []
    engine.store.failure = None
    thread.join(10)
    assert task.ended == ["ack"]
    assert handlers.runs == ["t-1"]


def test_a_worker_that_stops_while_storage_is_down_hands_the_task_over(engine: Engine) -> None:
    engine.store.failure = StoreUnavailable("down")
    engine.stopping.set()
    task = engine.task("echo", n=1)
    engine.attempts.process(task)
    assert task.ended == [("hand over", "t-1")]


def test_a_task_over_its_types_limit_is_parked_without_a_thread(engine: Engine) -> None:
    thread = threading.Thread(target=engine.attempts.process, args=(engine.task("narrow", "t-1"),))
    thread.start()
    until(lambda: handlers.runs)
    second = engine.task("narrow", "t-2")
    engine.attempts.process(second)
    assert (second.ended, engine.resumed) == ([], [])
    assert engine.attempts.waiting  # a drain is not at its end
    handlers.go_on.set()
    thread.join(5)
    assert engine.resumed == [(second, True)]
    assert not engine.attempts.waiting
    engine.attempts.process(second, admitted=True)
    assert second.ended == ["ack"]


def test_a_task_that_kills_its_workers_dies_after_its_attempts(engine: Engine) -> None:
    task = engine.task("echo")
    _lose_all_attempts(engine, task)
    last = engine.task("echo", attempt=6)
    engine.attempts.process(last)
    assert last.ended == ["ack"]
    assert engine.record().status is Status.DEAD
    assert engine.record().reason == "all 5 attempts used up; the last one: the worker was lost"


def _lose_all_attempts(engine: Engine, task: object) -> None:
    """Claim the task as often as it may be tried, each time by a worker that dies."""
    stored: Stored | None = None
    for number in range(5):
        stored = engine.claim(_message(task, engine), stored, owner=str(number))
        engine.clock.forward(21)


def _message(delivery: FakeDelivery, engine: Engine) -> TaskMessage:
    return decode(
        delivery.data,
        {},
        queue="default",
        message_id="m-1",
        published_at=engine.clock.now,
        task_ids=engine.task_ids,
    )


def test_a_retry_of_hours_is_a_timer_and_comes_again_then(engine: Engine) -> None:
    first = engine.task("hours")
    engine.attempts.process(first)
    record = engine.record()
    assert first.ended == ["ack"]
    assert (record.status, record.not_before) == (Status.SCHEDULED, engine.clock.now + timedelta(hours=6))
    [name] = engine.store.names(names.TIMERS)
    assert len(engine.store.writes) == 3  # the claim, the end of the attempt, the timer
    # A copy of the message meanwhile starts nothing, and makes no second timer.
    copy = engine.task("hours", attempt=2)
    engine.attempts.process(copy)
    assert (copy.ended, engine.store.names(names.TIMERS)) == (["ack"], (name,))
    timers, publisher = Timers(engine.store), Publisher(engine.settings, topics=engine.topics)
    engine.clock.forward(6 * 3600 - 60)
    assert timers.fire(publisher, until=engine.clock.now + timedelta(seconds=60)) == 1
    (published,) = engine.topics.published
    early = FakeDelivery(published.message.data, published.message.attributes, engine.clock.now)
    engine.attempts.process(early)
    assert early.ended == [("defer", pytest.approx(60))]
    engine.clock.forward(60)
    engine.attempts.process(early)
    assert [attempt.outcome for attempt in engine.record().attempts] == [Outcome.FAILED, Outcome.FAILED]


def test_a_type_without_records_counts_its_attempts_across_a_timer(engine: Engine) -> None:
    first = engine.task("light_hours", attempt=2)
    engine.attempts.process(first)
    assert first.ended == ["ack"]
    engine.clock.forward(6 * 3600)
    Timers(engine.store).fire(Publisher(engine.settings, topics=engine.topics), until=engine.clock.now)
    assert engine.topics.published[0].message.attributes[EARLIER_DELIVERIES] == "2"
    assert engine.records.read("t-1") is None


def test_a_worker_that_dies_between_record_and_timer_leaves_a_message_that_makes_the_timer(engine: Engine) -> None:
    def stop(name: str) -> None:
        if name.startswith(names.TIMERS):
            engine.stopping.set()
            raise StoreUnavailable("no answer")

    engine.store.before_write = stop
    first = engine.task("hours")
    engine.attempts.process(first)
    assert first.ended == ["nack"]
    assert engine.store.names(names.TIMERS) == ()
    engine.store.before_write = lambda name: None
    engine.stopping.clear()
    again = engine.task("hours", attempt=2)
    engine.another("worker-2").process(again)
    assert again.ended == ["ack"]
    assert len(engine.store.names(names.TIMERS)) == 1
    assert len(engine.record().attempts) == 1


def test_a_delayed_follow_up_is_a_timer_made_once_its_parent_has_succeeded(engine: Engine) -> None:
    engine.attempts.process(engine.task("delaying_parent"))
    [name] = engine.store.names(names.TIMERS)
    assert names.timer_due_at(name) == engine.clock.now + timedelta(days=1)
    assert engine.topics.published == []
    assert engine.record().status is Status.SUCCEEDED
    [follow_up] = engine.records.page(Filter(status=frozenset({Status.SCHEDULED}))).records
    assert (follow_up.task_id, follow_up.task_type) == (engine.record().result, "echo")
    writes = len(engine.store.writes)
    engine.attempts.process(engine.task("delaying_parent", attempt=2))
    assert len(engine.store.writes) == writes == 4  # claim and result; timer and record of the follow-up


def test_two_schedulers_that_fire_the_same_timers_make_one_run_of_each(engine: Engine) -> None:
    publisher, timers = Publisher(engine.settings, topics=engine.topics), Timers(engine.store)
    for number in range(20):
        task = _message(engine.task("echo", f"t-{number}", n=number), engine)
        due_at = engine.clock.now + timedelta(hours=1)
        timers.put("default", task.data(), task.attributes(), task_id=task.task_id, not_before=due_at)
    engine.clock.forward(3600)
    together = threading.Barrier(2)

    def fire() -> None:
        together.wait()
        Timers(engine.store).fire(publisher, until=engine.clock.now)

    schedulers = [threading.Thread(target=fire) for _ in range(2)]
    for scheduler in schedulers:
        scheduler.start()
    for scheduler in schedulers:
        scheduler.join()
    messages = [published.message for published in engine.topics.published]
    # Both lists may be read before the first delete: a copy of a message is what may come of it, never less than one.
    for message in [*messages, *messages]:
        engine.attempts.process(FakeDelivery(message.data, message.attributes, engine.clock.now, attempt=2))
    assert sorted(handlers.runs) == sorted(f"t-{number}" for number in range(20))
    assert engine.store.names(names.TIMERS) == ()


def test_thirty_orderly_stops_use_up_no_attempt(engine: Engine) -> None:
    task = _message(engine.task("echo"), engine)
    record: TaskRecord | None = None
    for _ in range(30):
        run = transitions.claim(record, task, owner="o", worker="w", now=engine.clock.now, lease_s=20, max_attempts=5)
        assert isinstance(run, transitions.Run)
        record = transitions.stopped(run.record, now=engine.clock.now)
    assert record is not None
    assert (record.counted_attempts, record.last_attempt, len(record.attempts)) == (0, 30, transitions.KEPT_ATTEMPTS)


@pytest.mark.parametrize(
    ("task_type", "reason"),
    [
        ("not_json", "the handler returned, but its result can't be kept: the result.x is a builtins.object"),
        ("rude_reject", "404"),
        ("silent_retry", "all 1 attempts used up; the last one: Busy: "),
    ],
)
def test_an_odd_outcome_is_final_after_one_run(engine: Engine, task_type: str, reason: str) -> None:
    delivery = engine.task(task_type)
    engine.attempts.process(delivery)
    assert delivery.ended == ["ack"]
    record = engine.record()
    assert record.status.final
    assert (record.reason or "").startswith(reason)
    assert len(handlers.runs) == 1


def test_an_outcome_that_can_not_be_written_is_final_with_that_reason(engine: Engine) -> None:
    put = engine.store.put

    def refuse(name: str, data: bytes, **options: Any) -> int:
        if b'"succeeded"' in data:
            raise ValueError("not this one")
        return put(name, data, **options)

    engine.store.put = refuse  # type: ignore[method-assign]
    delivery = engine.task("echo")
    engine.attempts.process(delivery)
    assert (delivery.ended, engine.record().status) == (["ack"], Status.FAILED)
    assert engine.record().reason == "the outcome (returned) could not be recorded: not this one"


def test_a_large_result_is_written_in_pieces(engine: Engine) -> None:
    engine.attempts.process(engine.task("big", n=9 * 1024 * 1024))
    found = engine.record().result_object
    assert found is not None
    assert engine.store.stat(found.name).size_bytes == found.size_bytes > 9 * 1024 * 1024
