"""The words of the fixture `pipeline`. `--backend inline` and `--backend in-process` run the same tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import requests
from pydantic import ValidationError

from poolhouse.pipeline.errors import QueueUnavailable
from poolhouse.pipeline.limits.limit_store import LimitStore
from poolhouse.pipeline.tasks.records import Outcome, Status
from poolhouse.testing.pipeline import Pipeline
from tests.kit.unit.testing import handlers
from tests.kit.unit.testing.handlers import Greeting, Person, greet

#: How much later than due Pub/Sub delivers what was put off: to whole seconds, and after the queue's backoff.
PUT_OFF = timedelta(seconds=1 + 2 * 2)


def test_a_task_runs_and_its_result_is_of_the_type_that_the_handler_returns(pipeline: Pipeline) -> None:
    task = pipeline.submit(greet, name="Ada")
    assert task.status is Status.QUEUED
    pipeline.run_until_idle()
    assert task.result() == Greeting(text="Hello, Ada!", at=pipeline.clock.now())
    assert [attempt.number for attempt in task.attempts] == [1]


def test_a_result_with_aliases_and_computed_fields_is_read_again_though_its_model_forbids_others(
    pipeline: Pipeline,
) -> None:
    task = pipeline.submit(handlers.measure, times=3)
    pipeline.run_until_idle()
    assert task.record.result[0] == {"wide": 3, "high": 2, "area": 6}
    assert task.result() == [handlers.Area(w=3, h=2), handlers.Area(w=1, h=1)]


def test_a_task_type_by_its_name_gives_the_result_as_json(pipeline: Pipeline) -> None:
    task = pipeline.submit("greet_async", Person(name="Ada"), queue="urgent")
    pipeline.run_until_idle()
    assert task.result() == "Hello, Ada!"
    assert task.record.queue == "urgent"


def test_a_handler_for_a_process_runs_here(pipeline: Pipeline) -> None:
    task = pipeline.submit(handlers.compute, times=21)
    pipeline.run_until_idle()
    assert task.result() == 42


def test_payload_and_task_type_are_checked(pipeline: Pipeline) -> None:
    with pytest.raises(ValidationError):
        pipeline.submit(greet, nam="Ada")
    with pytest.raises(LookupError, match="no handler 'grete'"):
        pipeline.submit("grete", name="Ada")
    with pytest.raises(LookupError, match="no queue bulk"):
        pipeline.submit(greet, Person(name="Ada"), queue="bulk")
    assert pipeline.submitted == ()


def test_a_test_that_reads_a_result_too_early_is_told_why(pipeline: Pipeline) -> None:
    task = pipeline.submit(handlers.refuse, name="Ada")
    with pytest.raises(AssertionError, match="no worker has begun it"):
        task.result()
    pipeline.run_until_idle()
    with pytest.raises(AssertionError, match="is failed: no to Ada"):
        task.result()


def test_backoffs_are_gone_through_without_waiting(pipeline: Pipeline) -> None:
    begun = pipeline.clock.now()
    task = pipeline.submit(handlers.flaky, times=2)
    pipeline.run_until_idle()
    assert task.result() == 3
    assert [attempt.outcome for attempt in task.attempts] == [Outcome.FAILED, Outcome.FAILED, Outcome.SUCCEEDED]
    assert timedelta(seconds=4) <= pipeline.clock.now() - begun < timedelta(minutes=1)


def test_what_uses_its_attempts_up_is_a_dead_letter(pipeline: Pipeline) -> None:
    task = pipeline.submit(handlers.flaky, times=99)
    pipeline.run_until_idle()
    assert task.status is Status.DEAD
    assert pipeline.assert_dead_lettered(task, reason="attempt 3 fails").task_id == task.task_id
    with pytest.raises(AssertionError, match="no dead letter whose reason has 'attempt 4'"):
        pipeline.assert_dead_lettered(reason="attempt 4")


@pytest.mark.parametrize("delay", ["5 minutes", "7 days"])
def test_a_delay_is_waited_for_by_the_clock_alone(pipeline: Pipeline, delay: str) -> None:
    begun = pipeline.clock.now()
    task = pipeline.submit(greet, Person(name="Ada"), delay=delay)
    pipeline.run_until_idle()
    assert task.status is Status.SCHEDULED
    assert pipeline.clock.now() == begun
    pipeline.clock.advance("8 days")
    due = begun + timedelta(days=7) if "days" in delay else begun + timedelta(minutes=5)
    assert due - timedelta(milliseconds=1) <= task.result().at <= due + PUT_OFF


@pytest.mark.parametrize("after_s", [30, 7200])
def test_a_retry_that_the_handler_asked_for_waits_for_the_clock(pipeline: Pipeline, after_s: int) -> None:
    begun = pipeline.clock.now()
    task = pipeline.submit(handlers.later, times=after_s)
    pipeline.run_until_idle()
    assert len(task.attempts) == 1
    pipeline.clock.advance(timedelta(seconds=after_s) + PUT_OFF)
    waited = datetime.fromisoformat(task.result()) - begun
    assert timedelta(seconds=after_s) <= waited <= timedelta(seconds=after_s) + PUT_OFF


def test_schedules_run_at_their_times_in_order(pipeline: Pipeline) -> None:
    pipeline.clock.advance("3 hours")
    runs = pipeline.assert_submitted(greet, name="hour", times=3)
    ran_at = [Greeting.model_validate(run.result()).at for run in runs]
    assert ran_at == sorted(ran_at)
    assert all((at.minute, at.second) == (0, 0) for at in ran_at)
    assert len({at.hour for at in ran_at}) == 3


def test_limits_go_by_the_clock(pipeline: Pipeline) -> None:
    tasks = [pipeline.submit(handlers.limited, times=number) for number in range(5)]
    pipeline.run_until_idle()
    assert sum(task.status is Status.SUCCEEDED for task in tasks) == 2
    pipeline.clock.advance("1 hour")
    assert sum(task.status is Status.SUCCEEDED for task in tasks) == 4
    pipeline.clock.advance("1 hour")
    assert all(task.status is Status.SUCCEEDED for task in tasks)
    assert all(len(task.attempts) == 1 for task in tasks)


def test_limits_of_all_workers_go_by_the_clock_and_by_key(pipeline: Pipeline) -> None:
    tasks = [pipeline.submit(handlers.shared, name="Ada") for _ in range(5)]
    other = pipeline.submit(handlers.shared, name="Bob")
    pipeline.run_until_idle()
    assert sum(task.status is Status.SUCCEEDED for task in tasks) == 2
    assert other.status is Status.SUCCEEDED
    pipeline.clock.advance("1 minute")
    assert [task.record.waits_for for task in tasks[2:]] == ["the limit of shared (name=Ada)"] * 3
    pipeline.clock.advance("61 minutes")
    assert sum(task.status is Status.SUCCEEDED for task in tasks) == 4
    pipeline.clock.advance("61 minutes")
    assert all(task.status is Status.SUCCEEDED for task in tasks)
    assert not any(task.record.waits_for for task in tasks)
    assert all(len(task.attempts) == 1 for task in tasks)


def test_a_limit_is_kept_over_the_death_of_the_worker_that_held_it(pipeline: Pipeline) -> None:
    begun = pipeline.clock.now()
    with pipeline.kill_worker(at="after-claim"):
        task = pipeline.submit(handlers.in_turn, name="Ada")
        pipeline.run_until_idle()
    assert task.result() == "Ada"
    assert timedelta(seconds=23) <= pipeline.clock.now() - begun <= timedelta(minutes=2)


def test_a_handler_that_takes_long_keeps_its_turn(pipeline: Pipeline) -> None:
    handlers.during.append(lambda: pipeline.clock.advance("5 minutes"))
    tasks = [pipeline.submit(handlers.in_turn, name="Ada") for _ in range(2)]
    pipeline.run_until_idle()
    assert [task.result() for task in tasks] == ["Ada", "Ada"]
    assert all(len(task.attempts) == 1 for task in tasks)
    pipeline.clock.advance("1 minute")
    assert LimitStore(pipeline.store).in_use(most=10, now=pipeline.clock.now()) == ([], False)


def test_a_handler_that_takes_too_long_is_interrupted_and_one_that_does_not_keeps_its_lease(pipeline: Pipeline) -> None:
    handlers.during.append(lambda: pipeline.clock.advance("50 s"))
    in_time = pipeline.submit(handlers.slow, times=1)
    pipeline.run_until_idle()
    assert in_time.result() == "in time"
    handlers.during.append(lambda: pipeline.clock.advance("50 s"))
    late = pipeline.submit(handlers.slow, times=2)
    pipeline.run_until_idle()
    assert late.status is Status.DEAD
    pipeline.assert_dead_lettered(late, reason="longer than 60 s")
    assert len(in_time.attempts) == len(late.attempts) == 1


def test_follow_ups_are_tasks_of_the_test_too(pipeline: Pipeline) -> None:
    task = pipeline.submit(handlers.fan_out, times=2)
    pipeline.run_until_idle()
    children = pipeline.follow_ups(task)
    assert [child.task_id for child in children] == task.result()
    assert [child.status for child in children] == [Status.SUCCEEDED, Status.SUCCEEDED, Status.SCHEDULED]
    pipeline.assert_submitted(greet, name="child 1", times=1)
    pipeline.clock.advance("1 hour")
    assert children[2].result()["text"] == "Hello, late!"


def test_of_unique_tasks_one_is_submitted(pipeline: Pipeline) -> None:
    first = pipeline.submit(handlers.only_one, name="Ada")
    assert pipeline.submit(handlers.only_one, name="Ada").task_id == first.task_id
    assert pipeline.submit(handlers.only_one, name="Bob").task_id != first.task_id
    pipeline.run_until_idle()
    assert first.result() == "Ada"
    assert pipeline.submit(handlers.only_one, name="Ada").task_id != first.task_id


def test_what_was_not_submitted_is_told_with_what_was(pipeline: Pipeline) -> None:
    pipeline.submit(greet, name="Ada")
    with pytest.raises(AssertionError, match=r"greet\(name='Bob'\) was submitted 0 times.*\n  greet {'name': 'Ada'}"):
        pipeline.assert_submitted(greet, name="Bob")
    with pytest.raises(AssertionError, match="1 times, not 2 times"):
        pipeline.assert_submitted("greet", times=2)


def test_storage_that_is_down_for_a_moment_costs_no_attempt(pipeline: Pipeline) -> None:
    fault = pipeline.faults.on("storage.write", error=503, times=2, contains="tasks/")
    task = pipeline.submit(greet, name="Ada")
    pipeline.run_until_idle()
    assert task.result().text == "Hello, Ada!"
    assert fault.happened == 2
    assert len(task.attempts) == 1


def test_a_queue_that_is_down_refuses_a_submit(pipeline: Pipeline) -> None:
    pipeline.faults.on("queue.publish")
    with pytest.raises(QueueUnavailable):
        pipeline.submit(greet, name="Ada")
    assert pipeline.submit(greet, name="Ada").status is Status.QUEUED


def test_a_fault_that_cannot_be_is_refused(pipeline: Pipeline) -> None:
    with pytest.raises(ValueError, match=r"no operation 'storage.wirte'.*storage.write"):
        pipeline.faults.on("storage.wirte")
    with pytest.raises(ValueError, match="not 200"):
        pipeline.faults.on("storage.write", error=200)


def test_a_duplicate_of_an_unknown_queue_is_refused_with_those_that_there_are(pipeline: Pipeline) -> None:
    with pytest.raises(LookupError, match=r"there is no queue nope \(queues: urgent, default\)"):
        pipeline.faults.duplicate("nope")


def test_a_duplicate_delivery_does_not_run_a_task_again(pipeline: Pipeline) -> None:
    pipeline.faults.duplicate("default")
    recorded, unrecorded = pipeline.submit(handlers.spend, name="once"), None
    pipeline.run_until_idle()
    pipeline.faults.duplicate("default")
    unrecorded = pipeline.submit(handlers.quiet, name="twice")
    pipeline.run_until_idle()
    assert handlers.ledger == ["once", "twice", "twice"]
    assert recorded.status is Status.SUCCEEDED
    assert unrecorded.attempts == ()


def test_a_lost_ack_brings_the_message_again(pipeline: Pipeline) -> None:
    pipeline.faults.on("queue.ack")
    task = pipeline.submit(handlers.spend, name="once")
    pipeline.run_until_idle()
    assert (handlers.ledger, len(task.attempts)) == (["once"], 1)
    assert "(delivery 2)" in pipeline.timeline()


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", ["pull", "claim", "handler", "result", "record", "follow-ups", "ack"])
def test_a_worker_may_die_at_each_step_and_the_task_ends_all_the_same(
    pipeline: Pipeline, moment: str, step: str
) -> None:
    task = pipeline.submit(handlers.file, name="Ada")
    with pipeline.kill_worker(at=f"{moment}-{step}"):
        pipeline.run_until_idle()
    assert task.result() == "report for Ada"
    assert pipeline.store.get(f"results/report_{task.task_id}.json")[0] == b'"report for Ada"'
    died_inside = f"{moment}-{step}" in {
        *("after-claim", "before-handler", "after-handler", "before-result", "after-result", "before-record")
    }
    assert len(task.attempts) == 1 + died_inside
    assert "worker-1 dies" in pipeline.timeline()


def test_a_worker_dies_before_and_after_the_dead_letter(pipeline: Pipeline) -> None:
    for moment in ("before", "after"):
        task = pipeline.submit(handlers.refuse, name="Ada")
        with pipeline.kill_worker(at=f"{moment}-dead-letter"):
            pipeline.run_until_idle()
        pipeline.assert_dead_lettered(task, reason="no to Ada")


def test_a_worker_that_never_came_to_the_step_is_reported(pipeline: Pipeline) -> None:
    pipeline.submit(greet, name="Ada")
    missed = pytest.raises(AssertionError, match="no worker came to after-dead-letter")
    with missed, pipeline.kill_worker(at="after-dead-letter"):
        pipeline.run_until_idle()
    unknown = pytest.raises(ValueError, match=r"not at after-lunch \(steps: pull, claim")
    with unknown, pipeline.kill_worker("after-lunch"):
        raise RuntimeError("the block is not entered")


def test_an_application_that_calls_the_api_is_tested_against_it(pipeline: Pipeline) -> None:
    answer = requests.post(f"{pipeline.api_url}/submit-task", json={"task_type": "greet", "name": "Ada"}, timeout=10)
    assert answer.status_code == 200, answer.text
    [task] = pipeline.assert_submitted(greet, name="Ada")
    pipeline.run_until_idle()
    found = requests.get(f"{pipeline.api_url}/tasks/{task.task_id}", timeout=10).json()
    assert (found["status"], found["result"]["text"]) == ("succeeded", "Hello, Ada!")


def test_the_api_goes_by_the_clock_of_the_test(pipeline: Pipeline) -> None:
    pipeline.clock.advance("30 minutes")
    body = {"task_type": "greet", "payload": {"name": "Ada"}, "delay_s": 60}
    answer = requests.post(f"{pipeline.api_url}/tasks", json=body, timeout=10)
    assert answer.json()["status"] == "scheduled"
    due = pipeline.clock.now() + timedelta(seconds=60)
    pipeline.clock.advance("2 minutes")
    [task] = pipeline.assert_submitted(greet, name="Ada")
    assert due <= datetime.fromisoformat(task.result()["at"]) <= due + PUT_OFF


def test_time_stands_still_until_it_is_moved(pipeline: Pipeline) -> None:
    before = pipeline.clock.now()
    assert before.tzinfo is UTC
    assert pipeline.clock.now() == before
    pipeline.clock.advance(timedelta(days=1))
    assert pipeline.clock.now() - before == pytest.approx(timedelta(days=1), abs=timedelta(milliseconds=1))
    with pytest.raises(ValueError, match="no span of time"):
        pipeline.clock.advance("7 moons")


def test_a_paused_queue_waits_while_others_run(pipeline: Pipeline) -> None:
    requests.post(f"{pipeline.api_url}/queues/default:pause", timeout=10).raise_for_status()
    waiting = pipeline.submit(greet, name="Ada")
    urgent = pipeline.submit(greet, Person(name="Bob"), queue="urgent")
    pipeline.run_until_idle()
    assert urgent.result().text == "Hello, Bob!"
    pipeline.clock.advance("1 h")
    assert waiting.status is Status.QUEUED
    requests.post(f"{pipeline.api_url}/queues/default:resume", timeout=10).raise_for_status()
    pipeline.run_until_idle()
    assert waiting.result().text == "Hello, Ada!"


def test_a_purged_task_never_runs(pipeline: Pipeline) -> None:
    waiting = pipeline.submit(greet, name="Ada")
    delayed = pipeline.submit(greet, Person(name="Bob"), delay="2 days")
    pipeline.clock.advance("1 s")  # which runs what waits
    again = pipeline.submit(greet, name="Cem")
    requests.post(f"{pipeline.api_url}/queues/default:pause", timeout=10).raise_for_status()
    pipeline.clock.advance("1 s")
    requests.post(f"{pipeline.api_url}/queues/default:purge", timeout=10).raise_for_status()
    requests.post(f"{pipeline.api_url}/queues/default:resume", timeout=10).raise_for_status()
    pipeline.clock.advance("3 days")
    assert waiting.status is Status.SUCCEEDED
    assert (again.status, again.record.reason) == (Status.CANCELLED, "queue default was purged")
    assert delayed.status is Status.CANCELLED
