"""What counts as a worker that is stuck, who is told, and how it ends."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from queue import Queue
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from google.cloud.pubsub_v1.subscriber.futures import StreamingPullFuture

from poolhouse.pipeline.errors import ConfigError
from poolhouse.worker.runtime.execution.thread_pool import TaskThreads
from poolhouse.worker.runtime.health.endpoint import HealthEndpoint
from poolhouse.worker.runtime.health.streams import is_pulling
from poolhouse.worker.runtime.health.vitals import STALLED_S, Judge, Part, Vitals
from poolhouse.worker.runtime.health.watchdog import LOOKS, Stuck, Watchdog
from tests.kit.unit.worker.test_runtime import Start
from tests.kit.unit.worker.test_runtime import refused as refused  # noqa: PLC0414 - a fixture
from tests.kit.waiting import until

STUCK = Vitals(closed=("shop-mail-workers",))


@pytest.mark.parametrize(
    ("vitals", "words"),
    [
        (STUCK, "nothing is pulled from shop-mail-workers"),
        (Vitals(dead=("heartbeat",)), "the thread heartbeat has ended"),
        (Vitals(lost=2), "the threads of 2 tasks have ended under them"),
    ],
)
def test_a_closed_stream_and_a_dead_thread_are_problems_at_once(vitals: Vitals, words: str) -> None:
    assert Judge().problems(vitals, at_s=0) == (words,)
    assert Judge().problems(Vitals(), at_s=0) == ()


def test_a_part_that_has_work_and_does_not_get_on_is_a_problem_after_some_time() -> None:
    judge = Judge()

    def problems(at_s: float, *, busy: bool, moves: float) -> tuple[str, ...]:
        return judge.problems(Vitals(parts={"the queue mail": Part(busy=busy, moves=moves)}), at_s=at_s)

    assert problems(0, busy=True, moves=1) == ()
    assert problems(STALLED_S - 1, busy=True, moves=1) == ()
    assert problems(STALLED_S, busy=True, moves=1) == (
        "the queue mail has had work for 30 s and has not got on with it",
    )
    assert problems(STALLED_S + 1, busy=True, moves=2) == ()  # it moved
    assert problems(2 * STALLED_S, busy=False, moves=2) == ()  # nothing to do
    assert problems(3 * STALLED_S - 1, busy=True, moves=2) == ()
    assert problems(3 * STALLED_S + 1, busy=True, moves=2) == (
        "the queue mail has had work for 31 s and has not got on with it",
    )


def test_a_handler_that_runs_long_keeps_its_slot_and_no_judge_minds() -> None:
    threads, running, released = TaskThreads({"mail": 1}), threading.Event(), threading.Event()

    def handler() -> None:
        running.set()
        released.wait(60)

    for work in (handler, lambda: None):
        threads.put("mail", work, give_back=lambda: None)
    assert running.wait(10)
    assert threads.parts == {"the queue mail": Part(busy=False, moves=1)}  # one waits, but there is no place for it
    assert threads.lost == 0
    released.set()
    assert threads.wait_idle(10)
    assert threads.parts == {"the queue mail": Part(busy=False, moves=2)}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_queue_whose_threads_have_died_has_work_that_nothing_takes_up() -> None:
    threads, dying, both = TaskThreads({"mail": 1}), Queue[threading.Thread](), threading.Event()

    def end_thread() -> None:
        dying.put(threading.current_thread())
        both.wait(60)
        raise SystemExit

    for work in (end_thread, lambda: None):
        threads.put("mail", work, give_back=lambda: None)
    both.set()
    dying.get(timeout=60).join(60)
    assert threads.parts == {"the queue mail": Part(busy=True, moves=1)}
    threads._busy[-1] = threads._lanes["mail"]
    assert threads.lost == 1


def stream(**threads: threading.Thread) -> StreamingPullFuture:
    """An open stream; its helpers have these threads."""
    helpers = {f"_{name}": SimpleNamespace(_thread=thread) for name, thread in threads.items()}
    return StreamingPullFuture(SimpleNamespace(add_close_callback=Mock(), is_active=True, **helpers))


def test_a_stream_is_pulled_from_while_its_threads_run() -> None:
    ended, runs = threading.Thread(target=int), threading.current_thread()
    ended.start()
    ended.join()
    assert is_pulling(stream())  # of another version of the client library
    assert is_pulling(stream(dispatcher=runs, leaser=runs, heartbeater=runs))
    for name in ("dispatcher", "leaser", "heartbeater"):
        assert not is_pulling(stream(**{name: ended}))
    consumer_died = stream()
    consumer_died._StreamingPullFuture__manager.is_active = False
    assert not is_pulling(consumer_died)
    closed = stream()
    closed.set_result(True)
    assert not is_pulling(closed)


def test_a_worker_knows_whether_its_streams_are_open(refused: Start) -> None:
    worker, subscriber = refused(0)
    name = subscriber.paths[0].rpartition("/")[2]
    assert worker.vitals() == Vitals(parts=worker.vitals().parts)
    assert {"the heartbeat", "the queue default"} == set(worker.vitals().parts)
    subscriber.managers[0].is_active = False
    assert worker.vitals().closed == (name,)
    worker.stop("the test is over")
    assert worker.vitals() == Vitals()
    assert worker.wait(10)


def test_a_stream_that_waits_for_its_right_to_pull_is_no_problem(
    refused: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("poolhouse.worker.runtime.pulling.streams.LONGEST_WAIT_S", 60)
    worker, subscriber = refused(1)
    until(lambda: subscriber.streams[0].done() and not worker.vitals().closed, "it is refused", timeout_s=30)
    worker.stop("the test is over")
    assert worker.wait(10)


class World:
    """A worker's vitals, and what its watchdog has done."""

    def __init__(self) -> None:
        self.vitals = Vitals()
        self.ended: list[Stuck] = []
        self.killed = threading.Event()

    def watchdog(self, *, after_s: float) -> Watchdog:
        return Watchdog(
            lambda: self.vitals, after_s=after_s, end=self.ended.append, last_resort_s=0, kill=self.killed.set
        )


def test_a_worker_is_ended_once_it_has_been_stuck_for_long_enough_at_each_look() -> None:
    world = World()
    watchdog = world.watchdog(after_s=60)
    world.vitals = STUCK
    assert [watchdog.look(at_s) for at_s in (10, 20, 30)] == [None] * 3
    world.vitals = Vitals()
    assert watchdog.look(80) is None  # it got on meanwhile: the time begins anew
    world.vitals = STUCK
    assert [watchdog.look(90 + 10 * look) for look in range(6)] == [None] * 6
    assert str(watchdog.look(150)) == "the worker is stuck: nothing is pulled from shop-mail-workers"


def test_one_late_look_ends_nothing() -> None:
    """A laptop slept, or a handler held up all threads: at the next look all goes on."""
    world = World()
    watchdog = world.watchdog(after_s=60)
    world.vitals = STUCK
    assert watchdog.look(0) is None
    assert watchdog.look(10_000) is None
    assert [watchdog.look(10_000 + look) is None for look in range(LOOKS - 2)] == [True] * (LOOKS - 3) + [False]


def test_what_does_not_end_in_order_is_killed(capfd: pytest.CaptureFixture[str]) -> None:
    world = World()
    world.vitals = STUCK
    world.watchdog(after_s=0.06).start()
    assert world.killed.wait(30)
    until(lambda: world.ended, "it is ended", timeout_s=30)
    assert [str(stuck) for stuck in world.ended] == ["the worker is stuck: nothing is pulled from shop-mail-workers"]
    assert "most recent call first" in capfd.readouterr().err  # where each thread is


@pytest.fixture
def ask() -> Iterator[Callable[..., tuple[int, Any]]]:
    world = World()
    endpoint = HealthEndpoint(lambda: world.vitals, host="127.0.0.1", port=0)
    endpoint.start()

    def call(path: str, vitals: Vitals = world.vitals) -> tuple[int, Any]:
        world.vitals = vitals
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{endpoint.port}{path}", timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error) if error.code == 503 else None

    yield call
    with pytest.raises(ConfigError, match=f"WORKER_HEALTH_PORT: 127.0.0.1:{endpoint.port}: "):
        HealthEndpoint(Vitals, host="127.0.0.1", port=endpoint.port)
    endpoint.stop()


def test_probes_are_told_whether_the_worker_gets_on(ask: Callable[..., tuple[int, Any]]) -> None:
    assert ask("/health") == (200, {"live": True, "problems": []})
    assert ask("/health?from=kubelet", STUCK) == (
        503,
        {"live": False, "problems": ["nothing is pulled from shop-mail-workers"]},
    )
    assert ask("/else") == (404, None)
