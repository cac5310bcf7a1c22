"""Resumable steps: what is recorded is not run again, and recording costs no more than progress does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import date
from functools import partial
from typing import Any

import pytest
from pydantic import BaseModel

from poolhouse.pipeline import names
from poolhouse.pipeline.errors import StoreUnavailable
from poolhouse.pipeline.tasks import transitions
from poolhouse.pipeline.tasks.records import Outcome, Status
from poolhouse.testing.doubles import FakeContext
from poolhouse.worker import Reject, StepChanged, TaskCancelled, TaskContext, WorkerStopping
from poolhouse.worker.steps import MAX_CURSOR_BYTES, MAX_STEPS
from tests.kit.unit.worker import handlers
from tests.kit.unit.worker.conftest import PIPELINE, Engine, FakeDelivery

KINDS = ["stepped", "stepped_async", "stepped_process"]


class Killed(BaseException):
    """A worker that is killed: nothing of it runs on."""


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a handler's process needs."""
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "test-project")
    monkeypatch.setenv("BUCKET_NAME", "test-bucket")
    monkeypatch.setenv("PIPELINE_FILE", str(PIPELINE))
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")
    yield
    handlers.steps_run.clear()
    handlers.in_step.clear()


def run(engine: Engine, task_type: str, *, attempt: int = 1, **payload: Any) -> FakeDelivery:
    delivery = engine.task(task_type, attempt=attempt, **payload)
    engine.attempts.process(delivery)
    return delivery


def steps(engine: Engine) -> list[tuple[str, int]]:
    return [(step.name, step.attempt) for step in engine.record().steps]


@pytest.mark.parametrize("task_type", KINDS)
def test_the_next_attempt_goes_on_behind_what_is_recorded(engine: Engine, task_type: str) -> None:
    run(engine, task_type, n=1)
    assert engine.record().status is Status.QUEUED
    assert steps(engine) == [("page 1", 1), ("page 2", 1)]
    run(engine, task_type, attempt=2, n=1)
    assert engine.record().result == [1, 1, 2]
    assert steps(engine) == [("page 1", 1), ("page 2", 1), ("page 3", 2)]


class TestWrites:
    """A plain task is written twice: claimed, and ended."""

    @pytest.mark.parametrize("task_type", KINDS)
    def test_steps_within_a_second_cost_no_write(self, engine: Engine, task_type: str) -> None:
        run(engine, task_type)
        assert len(engine.store.writes) == 2

    def test_a_step_that_took_a_second_is_written_before_the_next_begins(self, engine: Engine) -> None:
        seen: list[list[tuple[str, int]]] = []
        handlers.in_step["page 1"] = partial(engine.clock.forward, 1)  # type: ignore[assignment]
        handlers.in_step["page 2"] = lambda: seen.append(steps(engine))
        handlers.in_step["page 3"] = lambda: seen.append(steps(engine))
        run(engine, "stepped")
        assert seen == [[("page 1", 1)], [("page 1", 1)]]
        assert len(engine.store.writes) == 3

    def test_each_second_is_one_write_however_many_steps_end_in_it(self, engine: Engine) -> None:
        for number in (1, 2, 3):
            handlers.in_step[f"page {number}"] = partial(engine.clock.forward, 0.6)  # type: ignore[assignment]
        run(engine, "stepped")
        assert len(engine.store.writes) == 3

    def test_a_failed_attempt_costs_what_it_did(self, engine: Engine) -> None:
        run(engine, "stepped", n=1)
        assert len(engine.store.writes) == 2

    def test_the_heartbeat_writes_what_no_further_step_does(self, engine: Engine) -> None:
        def look() -> None:
            engine.clock.forward(1.5)
            [running] = engine.heartbeat.tasks()
            running.renew(now=engine.clock)
            assert steps(engine) == [("page 1", 1)]

        handlers.in_step["page 2"] = look
        run(engine, "stepped")
        assert len(engine.store.writes) == 3


class TestInterrupted:
    def test_a_killed_worker_costs_what_was_not_recorded_and_no_more(self, engine: Engine) -> None:
        handlers.in_step["page 1"] = partial(engine.clock.forward, 2)  # type: ignore[assignment]

        def die() -> None:
            raise Killed

        handlers.in_step["page 2"] = die
        # The engine takes whatever a handler raises for its end: what a kill leaves is the record as it was.
        settle = engine.attempts._settlement.settle
        engine.attempts._settlement.settle = lambda *args: None  # type: ignore[method-assign, misc]
        run(engine, "stepped")
        engine.attempts._settlement.settle = settle  # type: ignore[method-assign]
        assert (engine.record().status, steps(engine)) == (Status.RUNNING, [("page 1", 1)])
        handlers.in_step.clear()
        handlers.steps_run.clear()
        engine.clock.forward(60)
        run(engine, "stepped", attempt=2)
        assert handlers.steps_run == ["page 2", "page 3"]
        assert [attempt.outcome for attempt in engine.record().attempts] == [Outcome.LOST, Outcome.SUCCEEDED]

    def test_each_step_begins_with_a_checkpoint_and_a_stop_keeps_what_was_done(self, engine: Engine) -> None:
        def stop() -> None:
            [running] = engine.heartbeat.tasks()
            running.interrupt(WorkerStopping("the worker stops"))

        handlers.in_step["page 1"] = stop
        delivery = run(engine, "stepped")
        assert delivery.ended == [("hand over", "t-1")]
        assert (steps(engine), engine.record().stops) == ([("page 1", 1)], 1)

    def test_a_step_waits_for_storage_and_is_there_when_it_is_back(self, engine: Engine) -> None:
        handlers.in_step["page 1"] = partial(engine.clock.forward, 2)  # type: ignore[assignment]
        failures = [StoreUnavailable("down")]
        put = engine.store.put

        def fails_once(name: str, data: bytes, **options: Any) -> int:
            if failures and b'"steps"' in data:
                put(name, data, **options)  # it takes effect, and its answer is lost
                raise failures.pop()
            return put(name, data, **options)

        engine.store.put = fails_once  # type: ignore[method-assign]
        run(engine, "stepped")
        assert (engine.record().status, failures) == (Status.SUCCEEDED, [])
        assert steps(engine) == [("page 1", 1), ("page 2", 1), ("page 3", 1)]


class TestReplay:
    def test_a_dead_task_that_is_replayed_goes_on_behind_its_steps(self, engine: Engine) -> None:
        for attempt in range(1, 6):
            run(engine, "stepped", attempt=attempt, n=5)
        stored = engine.records.read("t-1")
        assert stored is not None
        assert stored.record.status is Status.DEAD
        engine.records.write(transitions.replayed(stored.record, now=engine.clock.now), if_generation=stored.generation)
        run(engine, "stepped", attempt=2, n=5)
        assert engine.record().result == [1, 1, 6]

    def test_with_another_payload_it_begins_anew(self, engine: Engine) -> None:
        run(engine, "stepped", n=1)
        record = engine.record()
        again = transitions.replayed(record, now=engine.clock.now, task=transitions.message_of(record))
        assert (again.steps, again.cursor) == ((), None)


class TestLargeResults:
    def test_what_goes_beyond_64_kilobytes_is_an_object_until_the_task_has_ended(self, engine: Engine) -> None:
        run(engine, "large_steps", n=1)
        large = [step.name for step in engine.record().steps if step.result_object is not None]
        assert large == ["text 30000", "text 100000"]
        assert len(engine.store.names(names.PAYLOADS)) == 2
        assert len(engine.store.writes) == 4
        handlers.steps_run.clear()
        run(engine, "large_steps", attempt=2, n=1)
        assert engine.record().result == [40_000, 30_000, 10_000, 100_000]
        assert (handlers.steps_run, engine.store.names(names.PAYLOADS)) == ([], ())

    def test_one_whose_object_is_gone_fails_with_its_name_and_is_not_run_again(self, engine: Engine) -> None:
        run(engine, "large_steps", n=1)
        engine.store.delete(engine.store.names(names.PAYLOADS)[0])
        handlers.steps_run.clear()
        run(engine, "large_steps", attempt=2, n=1)
        error = engine.record().attempts[-1].error
        assert error is not None
        assert (error.type, handlers.steps_run) == ("ValueLost", [])
        assert "is gone" in error.message


class TestCursor:
    @pytest.mark.parametrize("task_type", ["counting", "counting_process"])
    def test_the_next_attempt_goes_on_where_it_was(self, engine: Engine, task_type: str) -> None:
        run(engine, task_type, n=1)
        assert engine.record().cursor == 5
        run(engine, task_type, attempt=2, n=1)
        assert engine.record().result == [5, 10]

    def test_it_costs_no_write_of_its_own(self, engine: Engine) -> None:
        run(engine, "counting")
        assert len(engine.store.writes) == 2

    def test_the_heartbeat_writes_it_at_most_once_a_second(self, engine: Engine) -> None:
        def look() -> None:
            engine.clock.forward(0.5)
            [running] = engine.heartbeat.tasks()
            running.renew(now=engine.clock)

        for number in range(1, 10):
            handlers.in_step[f"number {number}"] = look
        run(engine, "counting")
        assert len(engine.store.writes) == 2 + 4

    def test_what_a_caller_changes_in_place_is_not_saved(self) -> None:
        ctx = FakeContext(cursor={"page": 1})
        ctx.cursor["page"] = 2
        assert ctx.cursor == {"page": 1}

    @pytest.mark.parametrize(
        ("value", "problem"),
        [(float("nan"), "JSON has no form"), (object(), "JSON has no form"), ("x" * MAX_CURSOR_BYTES, "may have")],
    )
    def test_one_that_can_not_be_kept_is_refused_at_once(self, value: object, problem: str) -> None:
        with pytest.raises(ValueError, match=problem):
            FakeContext().cursor = value


class TestRefused:
    def test_a_task_type_without_a_record_has_no_steps(self, engine: Engine) -> None:
        run(engine, "stepped_unrecorded")
        [letter] = engine.dead_letters
        assert "keeps no record (record=False)" in letter["dead_letter_reason"]
        assert handlers.steps_run == []

    def test_a_follow_up_inside_a_step_would_be_lost_and_is_refused(self, engine: Engine) -> None:
        run(engine, "submits_in_step")
        assert "ctx.submit inside step 'submit'" in (engine.record().reason or "")
        assert engine.record().steps == ()


class Report(BaseModel):
    pages: int
    made: date


def report(pages: int) -> Report:
    return Report(pages=pages, made=date(2026, 1, 31))


class TestResults:
    def test_a_model_comes_back_as_itself_each_time(self) -> None:
        first = FakeContext()
        assert first.step("report", report, 3) == report(3)
        assert first.results == {"report": {"pages": 3, "made": "2026-01-31"}}
        assert FakeContext(steps=first.results).step("report", report, 99) == report(3)

    def test_what_has_no_annotation_is_a_json_value_from_the_first_attempt_on(self) -> None:
        assert FakeContext().step("pair", lambda: (1, date(2026, 1, 31))) == [1, "2026-01-31"]

    def test_containers_of_models_and_methods_are_typed_too(self) -> None:
        class Maker:
            def make(self) -> list[Report]:
                return [report(1), report(2)]

        assert FakeContext().step("all", Maker().make) == [report(1), report(2)]
        assert FakeContext().step("one", partial(report, 4)) == report(4)

    def test_a_recorded_result_that_does_not_fit_any_more_is_told_apart(self) -> None:
        ctx = FakeContext(steps={"report": {"pages": "many"}})
        with pytest.raises(StepChanged, match=r"step 'report' was recorded in attempt 1.*pages.*another name"):
            ctx.step("report", report, 3)

    def test_steps_that_a_deploy_removed_are_ignored_and_new_ones_run(self) -> None:
        ctx = FakeContext(steps={"gone": 1, "report": report(3)})
        assert ctx.step("report", report, 9).pages == 3
        assert ctx.step("new", report, 9).pages == 9

    @pytest.mark.parametrize("value", [float("inf"), object(), "\ud800"])
    def test_one_that_can_not_be_kept_ends_the_task_since_its_work_is_done(self, value: object) -> None:
        with pytest.raises(Reject, match="result of step 'odd'"):
            FakeContext().step("odd", lambda: value)

    def test_one_that_its_annotation_does_not_allow_ends_the_task_too(self) -> None:
        def count() -> int:
            return "three"  # type: ignore[return-value]

        with pytest.raises(Reject, match="step 'count' returned what its annotation does not allow"):
            FakeContext().step("count", count)

    def test_a_type_that_json_can_not_keep_is_refused_before_anything_runs(self) -> None:
        ran: list[str] = []

        def handle() -> TaskContext:
            ran.append("it")
            return FakeContext()

        with pytest.raises(TypeError, match="can't be kept as JSON"):
            FakeContext().step("handle", handle)
        assert ran == []


class TestNames:
    def test_a_name_is_used_once(self) -> None:
        ctx = FakeContext()
        ctx.step("report", report, 1)
        with pytest.raises(ValueError, match=r"step 'report' was there before in this attempt"):
            ctx.step("report", report, 2)

    def test_one_whose_step_failed_may_be_tried_again(self) -> None:
        ctx, failures = FakeContext(), [ValueError("no")]

        def flaky() -> int:
            if failures:
                raise failures.pop()
            return 1

        with pytest.raises(ValueError, match="no"):
            ctx.step("flaky", flaky)
        assert ctx.step("flaky", flaky) == 1

    @pytest.mark.parametrize("name", ["", "x" * 101, "a\nb", 7])
    def test_one_that_can_not_be_is_refused(self, name: Any) -> None:
        with pytest.raises(ValueError, match="the name of a step"):
            FakeContext().step(name, report, 1)

    def test_there_are_so_many_at_most(self) -> None:
        ctx = FakeContext()
        for number in range(MAX_STEPS):
            ctx.step(f"{number}", int)
        with pytest.raises(ValueError, match=r"ctx\.cursor is for loops"):
            ctx.step("more", int)


class TestAsync:
    async def fetch(self, number: int) -> Report:
        await asyncio.sleep(0)
        return report(number)

    def test_steps_may_run_beside_each_other(self) -> None:
        async def both(ctx: FakeContext) -> list[int]:
            made = await asyncio.gather(*(ctx.step(f"page {number}", self.fetch, number) for number in (1, 2)))
            return [each.pages for each in made]

        ctx = FakeContext()
        assert asyncio.run(both(ctx)) == [1, 2]
        assert asyncio.run(both(FakeContext(steps=ctx.results))) == [1, 2]

    def test_an_ordinary_function_would_block_all_others_and_is_refused(self) -> None:
        async def handler(ctx: FakeContext) -> Report:
            return ctx.step("report", report, 1)

        with pytest.raises(TypeError, match="an async handler gives an async function"):
            asyncio.run(handler(FakeContext()))


def test_a_cancelled_task_begins_no_further_step() -> None:
    ctx = FakeContext(cancel_after=1)
    ctx.step("one", report, 1)
    with pytest.raises(TaskCancelled):
        ctx.step("two", report, 2)


def test_a_plain_task_has_nothing_of_it_in_its_record(engine: Engine) -> None:
    run(engine, "echo")
    kept = json.loads(engine.store.get(names.record("t-1"))[0])
    assert not {"steps", "cursor", "payload_object"} & set(kept)
