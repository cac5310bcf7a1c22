"""Cloud Storage takes one write or deletion per second of an object's name: an ordinary task needs no more.

On a clock that only the test moves, two changes of a name within a second are seen however fast the machine is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime

import pytest
import requests

from poolhouse.pipeline import names
from poolhouse.pipeline.tasks.records import Status
from poolhouse.testing.pipeline import Pipeline
from poolhouse.testing.surroundings import SeenStore
from tests.kit.unit.testing import handlers
from tests.kit.unit.testing.handlers import Person, Times, greet


class Changes:
    """What API, workers and schedules wrote and deleted, and what of it within a second of the change before."""

    def __init__(self) -> None:
        self._last: dict[str, datetime] = {}
        #: How many changes there were below each prefix.
        self.counts = Counter[str]()
        self.too_early: list[str] = []

    def see(self, name: str, at: datetime) -> None:
        last = self._last.get(name)
        if last is not None and (at - last).total_seconds() < 1:
            self.too_early.append(name)
        self._last[name] = at
        self.counts[name.partition("/")[0]] += 1


@pytest.fixture
def changes(monkeypatch: pytest.MonkeyPatch, pipeline: Pipeline) -> Changes:
    seen = Changes()
    put, delete = SeenStore.put, SeenStore.delete

    def counted_put(store: SeenStore, name: str, data: bytes, **options: object) -> int:
        generation = put(store, name, data, **options)  # type: ignore[arg-type]
        seen.see(name, pipeline.clock.now())
        return generation

    def counted_delete(store: SeenStore, name: str, **options: object) -> None:
        delete(store, name, **options)  # type: ignore[arg-type]
        seen.see(name, pipeline.clock.now())

    monkeypatch.setattr(SeenStore, "put", counted_put)
    monkeypatch.setattr(SeenStore, "delete", counted_delete)
    return seen


class TestOrdinaryCourse:
    """No object is changed twice within a second."""

    @pytest.fixture(autouse=True)
    def nothing_too_early(self, changes: Changes) -> Iterator[None]:
        yield
        assert changes.counts
        assert changes.too_early == []

    def test_a_task_that_succeeds(self, pipeline: Pipeline, changes: Changes) -> None:
        task = pipeline.submit(greet, name="Ada")
        pipeline.run_until_idle()
        assert task.status is Status.SUCCEEDED
        assert changes.counts["tasks"] == 2

    def test_a_task_that_fails_and_is_retried(self, pipeline: Pipeline, changes: Changes) -> None:
        task = pipeline.submit(handlers.flaky, times=2)
        pipeline.run_until_idle()
        assert (task.status, len(task.attempts)) == (Status.SUCCEEDED, 3)
        assert changes.counts["tasks"] == 6

    def test_a_task_that_fails_until_it_is_dead(self, pipeline: Pipeline, changes: Changes) -> None:
        task = pipeline.submit(handlers.flaky, times=9)
        pipeline.run_until_idle()
        pipeline.assert_dead_lettered(task)
        assert (changes.counts["tasks"], changes.counts["dead-letters"]) == (6, 1)

    def test_a_task_that_asks_for_a_retry(self, pipeline: Pipeline) -> None:
        task = pipeline.submit(handlers.later, times=3600)
        pipeline.run_until_idle()
        pipeline.clock.advance("1 hour")
        pipeline.run_until_idle()
        assert task.status is Status.SUCCEEDED

    def test_a_task_that_is_refused(self, pipeline: Pipeline, changes: Changes) -> None:
        task = pipeline.submit(handlers.refuse, name="Ada")
        pipeline.run_until_idle()
        assert task.status is Status.FAILED
        assert (changes.counts["tasks"], changes.counts["dead-letters"]) == (2, 1)

    @pytest.mark.parametrize(("delay", "timers"), [("1 minute", 0), ("3 hours", 2)])
    def test_a_task_that_waits_for_its_time(
        self, pipeline: Pipeline, changes: Changes, delay: str, timers: int
    ) -> None:
        task = pipeline.submit(greet, Person(name="Ada"), delay=delay)
        pipeline.clock.advance(delay)
        pipeline.run_until_idle()
        assert task.status is Status.SUCCEEDED
        hourly = pipeline.submitted[1:]
        assert (changes.counts["tasks"], changes.counts["timers"]) == (3 + 2 * len(hourly), timers)

    def test_tasks_that_a_task_submits(self, pipeline: Pipeline) -> None:
        task = pipeline.submit(handlers.fan_out, Times(times=3))
        pipeline.run_until_idle()
        pipeline.clock.advance("1 hour")
        pipeline.run_until_idle()
        assert {each.status for each in pipeline.follow_ups(task)} == {Status.SUCCEEDED}

    def test_a_unique_task(self, pipeline: Pipeline, changes: Changes) -> None:
        task = pipeline.submit(handlers.only_one, name="Ada")
        pipeline.run_until_idle()
        assert task.status is Status.SUCCEEDED
        assert (changes.counts["tasks"], changes.counts["unique"]) == (3, 1)

    def test_a_call_with_an_idempotency_key_and_its_repetition(self, pipeline: Pipeline, changes: Changes) -> None:
        for _ in range(2):
            answer = requests.post(
                f"{pipeline.api_url}/tasks",
                json={"task_type": "greet", "payload": {"name": "Ada"}},
                headers={"Idempotency-Key": "k"},
                timeout=10,
            )
            assert answer.status_code == 202
        pipeline.run_until_idle()
        assert (changes.counts["tasks"], changes.counts["idempotency"]) == (2, 2)

    def test_a_schedule(self, pipeline: Pipeline, changes: Changes) -> None:
        pipeline.clock.advance("1 minute")
        before = Counter(changes.counts)  # the clock starts anywhere in an hour
        pipeline.clock.advance("3 hours")
        pipeline.run_until_idle()
        assert changes.counts["schedules"] - before["schedules"] == 6
        assert changes.counts["tasks"] - before["tasks"] == 6


class TestRareCourse:
    """What happens now and then changes an object twice; then the call, or the worker, waits for its second."""

    @pytest.mark.parametrize("step", ["claim", "handler", "record"])
    def test_a_worker_that_dies(self, pipeline: Pipeline, changes: Changes, step: str) -> None:
        task = pipeline.submit(greet, name="Ada")
        with pipeline.kill_worker(at=f"before-{step}"):
            pipeline.run_until_idle()
        assert task.status is Status.SUCCEEDED
        # The claim that was lost, and the end that the next worker wrote for it.
        assert changes.counts["tasks"] == 2 + 2 * (step != "claim")
        assert set(changes.too_early) <= {names.record(task.task_id)}

    def test_the_replay_of_a_dead_letter(self, pipeline: Pipeline, changes: Changes) -> None:
        task = pipeline.submit(handlers.refuse, name="Ada")
        pipeline.run_until_idle()
        pipeline.clock.advance("1 minute")
        assert changes.too_early == []
        answer = requests.post(f"{pipeline.api_url}/dead-letters/{task.task_id}:replay", timeout=10)
        assert answer.status_code in {200, 202}
        pipeline.run_until_idle()
        assert set(changes.too_early) <= {names.dead_letter("default", task.task_id), names.claim(task.task_id)}
