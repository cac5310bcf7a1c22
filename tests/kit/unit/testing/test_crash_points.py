"""Crash points find handlers that are not repeatable, and no fault in those that are."""

from __future__ import annotations

import pytest

from poolhouse.testing.pipeline import Pipeline
from tests.kit.unit.testing import handlers
from tests.kit.unit.testing.handlers import ledger


def test_a_handler_that_spends_twice_is_found(pipeline: Pipeline) -> None:
    def spend_at_every_point() -> None:
        for turn in pipeline.crash_points():
            with turn:
                ledger.clear()
                pipeline.submit(handlers.spend, name="Ada")
                pipeline.run_until_idle()
                assert ledger == ["Ada"]

    with pytest.raises(AssertionError) as found:
        spend_at_every_point()
    text = str(found.value)
    assert "not repeatable: the effects differ at" in text
    assert "the worker dies after handler of spend\n    AssertionError" in text
    # Where the handler has not run yet, or its end is kept, it is not run twice.
    assert "dies after queue.pull" not in text
    assert "queue.ack" not in text


def test_a_handler_that_remembers_what_it_did_passes(pipeline: Pipeline) -> None:
    count = 0
    for turn in pipeline.crash_points():
        count += 1
        with turn:
            ledger.clear()
            pipeline.submit(handlers.spend_once, name="Ada")
            pipeline.run_until_idle()
            assert len(ledger) == 1
    assert count >= 10


def test_effects_in_the_bucket_are_compared_without_a_word_of_the_test(pipeline: Pipeline) -> None:
    def append_at_every_point() -> None:
        for turn in pipeline.crash_points():
            with turn:
                pipeline.submit(handlers.append, name="Ada")

    with pytest.raises(AssertionError, match=r"object processed/log.txt: b'Ada\\nAda\\n', not b'Ada\\n'"):
        append_at_every_point()


def test_results_files_and_follow_ups_come_out_the_same_at_every_point(pipeline: Pipeline) -> None:
    for turn in pipeline.crash_points():
        with turn:
            pipeline.submit(handlers.file, name="Ada")
            pipeline.submit(handlers.refuse, name="Ada")
            parent = pipeline.submit(handlers.fan_out, times=2)
            pipeline.run_until_idle()
            assert len(pipeline.follow_ups(parent)) == 3


def test_a_function_of_the_users_own_is_a_point_where_calls_fail(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    for turn in pipeline.crash_points():
        with turn, monkeypatch.context() as patch:
            sent.clear()
            deliver = pipeline.faults.wrap("mail.send", sent.append)
            patch.setattr(handlers, "during", [lambda deliver=deliver: deliver("hello")])
            task = pipeline.submit(handlers.mail)
            pipeline.run_until_idle()
            assert set(sent) == {"hello"}
            if turn.point is not None and turn.point.operation == "mail.send":
                assert len(task.attempts) == 2


def test_an_undisturbed_turn_that_fails_is_an_ordinary_failure(pipeline: Pipeline) -> None:
    turn = next(pipeline.crash_points())
    task = pipeline.submit(handlers.refuse, name="Ada")
    pipeline.run_until_idle()
    with pytest.raises(AssertionError, match="is failed: no to Ada"), turn:
        task.result()


def test_the_loop_wants_its_turns_entered(pipeline: Pipeline) -> None:
    turns = pipeline.crash_points()
    next(turns)
    with pytest.raises(RuntimeError, match="with turn:"):
        next(turns)


def test_results_that_tell_the_attempt_are_left_out_on_request(pipeline: Pipeline) -> None:
    def run(*, results: bool) -> None:
        for turn in pipeline.crash_points(results=results):
            with turn:
                pipeline.submit(handlers.flaky, times=0)

    run(results=False)
    with pytest.raises(AssertionError, match="not in the undisturbed turn: flaky"):
        run(results=True)


def test_a_task_under_limits_runs_once_whatever_becomes_of_a_call(pipeline: Pipeline) -> None:
    ledger.clear()
    count = 0
    for turn in pipeline.crash_points():
        count += 1
        with turn:
            ledger.clear()
            pipeline.submit(handlers.spend_in_turn, name="Ada")
            pipeline.run_until_idle()
            assert len(ledger) == 1
    assert count >= 14  # the calls for its limits among them
