"""The threads that run tasks, shared by the queues of one worker: urgent work first, without starving the rest.

A queue runs at most its own concurrency at a time. A free thread takes from the queue that has had the least of its
share (stride scheduling): each queue's share is `SHARE` times that of the next lower one.
"""

from __future__ import annotations

import queue as queues
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.cloud.pubsub_v1.subscriber.scheduler import Scheduler

from poolhouse.worker.runtime.health.vitals import Part

#: How many tasks of a queue are started for one of the next lower queue, when both have a backlog.
SHARE = 4

Work = Callable[[], None]


class _Waiting:
    """What waits in a lane: by tier, each of which has `SHARE` times the turns of the next lower one."""

    def __init__(self) -> None:
        #: What to do, and what to do instead if it is never started.
        self._tiers: dict[int, deque[tuple[Work, Work]]] = {0: deque()}
        self._passed = {0: 0}

    def __bool__(self) -> bool:
        return any(self._tiers.values())

    def append(self, work: Work, give_back: Work, *, tier: int) -> None:
        """Let one more wait."""
        waiting = self._tiers.setdefault(tier, deque())
        if not waiting:
            # A tier that had nothing to do has not saved up its share.
            others = [self._passed[other] for other, entries in self._tiers.items() if entries]
            self._passed[tier] = max(self._passed.get(tier, 0), min(others, default=0))
        waiting.append((work, give_back))

    def popleft(self) -> tuple[Work, Work]:
        """Take the one whose turn it is."""
        if len(self._tiers) == 1:
            return self._tiers[0].popleft()
        tier = min(
            (tier for tier, entries in self._tiers.items() if entries), key=lambda tier: (self._passed[tier], tier)
        )
        self._passed[tier] += SHARE**tier
        return self._tiers[tier].popleft()

    def clear(self) -> list[Work]:
        """Let nothing wait; returns the `give_back` of each."""
        left = [give_back for entries in self._tiers.values() for _, give_back in entries]
        for entries in self._tiers.values():
            entries.clear()
        return left


@dataclass
class _Lane:
    stride: float
    concurrency: int
    waiting: _Waiting = field(default_factory=_Waiting)
    running: int = 0
    passed: float = 0.0

    @property
    def ready(self) -> bool:
        return bool(self.waiting) and self.running < self.concurrency


class TaskThreads:
    """A pool of threads over lanes, one lane a queue."""

    def __init__(self, concurrency: Mapping[str, int]) -> None:
        """Starts no thread before there is work for it.

        Args:
            concurrency: tasks at a time by queue, the most urgent queue first.
        """
        self._lanes = {
            name: _Lane(stride=float(SHARE**position), concurrency=limit)
            for position, (name, limit) in enumerate(concurrency.items())
        }
        lock = threading.RLock()
        #: Notified when a thread may find work, or is to end.
        self._changed = threading.Condition(lock)
        #: Notified when nothing runs or waits any more.
        self._at_rest = threading.Condition(lock)
        #: Lane of the task that each busy thread runs.
        self._busy: dict[int, _Lane] = {}
        self._threads = 0
        self._idle = 0
        self._closed = False

    @property
    def running(self) -> int:
        """Tasks being run now."""
        with self._changed:
            return sum(lane.running for lane in self._lanes.values())

    @property
    def usage(self) -> Mapping[str, tuple[int, int]]:
        """By lane: tasks being run now, and the most that may."""
        with self._changed:
            return {name: (lane.running, lane.concurrency) for name, lane in self._lanes.items()}

    @property
    def lost(self) -> int:
        """Tasks whose thread has ended under them. Takes no lock."""
        busy = tuple(self._busy)
        alive = {thread.ident for thread in threading.enumerate()}
        return sum(ident not in alive for ident in busy)

    @property
    def parts(self) -> Mapping[str, Part]:
        """The lanes, as a judge of the worker's health sees them. Takes no lock."""
        return {f"the queue {name}": Part(busy=lane.ready, moves=lane.passed) for name, lane in self._lanes.items()}

    @property
    def busy(self) -> bool:
        """Whether a task is running or waiting for a thread."""
        with self._changed:
            return self._any_work()

    def put(self, queue: str, work: Work, *, give_back: Work, tier: int = 0) -> None:
        """Run `work` when its turn comes; call `give_back` at once if the pool takes no more.

        Args:
            queue: whose lane it waits in.
            work: what to do.
            give_back: what to do instead if it is never started.
            tier: its place in the lane of a fair queue, 0 the first.
        """
        with self._changed:
            closed = self._closed
            if not closed:
                self._enqueue(queue, work, give_back, tier)
        if closed:
            give_back()

    def close(self) -> list[Work]:
        """Start nothing more; returns the `give_back` of what has not been started."""
        with self._changed:
            self._closed = True
            left = [give_back for lane in self._lanes.values() for give_back in lane.waiting.clear()]
            self._changed.notify_all()
            self._notify_if_at_rest()
            return left

    def withdraw(self, queue: str) -> list[Work]:
        """Take back what waits in a queue's lane; returns the `give_back` of each."""
        with self._changed:
            left = self._lanes[queue].waiting.clear()
            self._notify_if_at_rest()
            return left

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until nothing runs; False when the time is over first."""
        with self._at_rest:
            return self._at_rest.wait_for(lambda: not self._any_work(), timeout=timeout_s)

    def abandon(self, thread_id: int) -> None:
        """Write off a thread that runs a handler which can't be ended: its place is free, another thread takes it."""
        with self._changed:
            lane = self._busy.pop(thread_id, None)
            if lane is not None:
                lane.running -= 1
                self._start_thread()
                self._notify_if_at_rest()

    def _enqueue(self, queue: str, work: Work, give_back: Work, tier: int) -> None:
        lane = self._lanes[queue]
        if not lane.waiting and not lane.running:
            # A queue that had nothing to do has not saved up its share.
            others = [other.passed for other in self._lanes.values() if other.waiting or other.running]
            lane.passed = max(lane.passed, min(others, default=0.0))
        lane.waiting.append(work, give_back, tier=tier)
        if self._idle == 0 and self._threads < sum(lane.concurrency for lane in self._lanes.values()):
            self._start_thread()
        self._changed.notify()

    def _start_thread(self) -> None:
        self._threads += 1
        threading.Thread(target=self._serve, name=f"task-{self._threads}", daemon=True).start()

    def _serve(self) -> None:
        me = threading.get_ident()
        while True:
            with self._changed:
                lane = self._next()
                if lane is None:
                    self._idle += 1
                    while lane is None and not self._closed:
                        self._changed.wait()
                        lane = self._next()
                    self._idle -= 1
                if lane is None:
                    return
                work, _ = lane.waiting.popleft()
                lane.running += 1
                lane.passed += lane.stride
                self._busy[me] = lane
                if self._idle and self._next() is not None:
                    self._changed.notify()  # a place that got free may be one for which no thread was woken
            try:
                work()
            finally:
                with self._changed:
                    kept = self._busy.pop(me, None) is not None
                    if kept:
                        lane.running -= 1
                        self._notify_if_at_rest()
                    else:
                        self._threads -= 1
            if not kept:
                return  # abandoned meanwhile

    def _any_work(self) -> bool:
        return any(lane.running or lane.waiting for lane in self._lanes.values())

    def _notify_if_at_rest(self) -> None:
        if not self._any_work():
            self._at_rest.notify_all()

    def _next(self) -> _Lane | None:
        return min((lane for lane in self._lanes.values() if lane.ready), key=lambda lane: lane.passed, default=None)


class LaneScheduler(Scheduler):  # type: ignore[misc]  # the client library has no types
    """Puts the client library's callbacks of one subscription into a lane of `TaskThreads`."""

    def __init__(self, slots: TaskThreads, lane: str, *, give_back: Callable[[Any], None], tier: int = 0) -> None:
        """Take messages from the start on.

        Args:
            slots: the threads.
            lane: the queue share that the messages wait in.
            give_back: called with a message that no thread takes up any more.
            tier: their place in the lane of a fair queue.
        """
        self._slots = slots
        self._lane = lane
        self._tier = tier
        self._give_back = give_back
        self._requests: queues.Queue[Any] = queues.Queue()
        self._holding = False
        self._count = threading.Lock()
        self._in_hand = 0
        self._emptying = False
        self._released = threading.Event()
        self._released.set()

    @property
    def queue(self) -> Any:
        """The client library's queue of ack requests."""
        return self._requests

    def schedule(self, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Run the callback on a slot; the message is its first argument."""
        with self._count:
            self._in_hand += 1
        if self._holding:
            self._give_back(args[0])
            return
        self._slots.put(
            self._lane,
            lambda: callback(*args, **kwargs),
            give_back=lambda: self._give_back(args[0]),
            tier=self._tier,
        )

    def shutdown(self, await_msg_callbacks: bool = False) -> list[Any]:
        """Called once nothing is pulled any more; until it returns, the client library goes on extending leases."""
        self._released.wait()
        return []

    def hold(self) -> None:
        """From here on, what arrives is given back, and `shutdown` returns only after `release`."""
        self._holding = True
        self._released.clear()

    def ended(self) -> None:
        """Note that a message has been acked or given back."""
        with self._count:
            self._in_hand -= 1
            if self._emptying and self._in_hand <= 0:
                self._released.set()

    def release_when_empty(self) -> None:
        """`release` as soon as every message that came has ended."""
        with self._count:
            self._emptying = True
            if self._in_hand <= 0:
                self._released.set()

    def release(self) -> None:
        """Every message has been acked or given back: let the client library send that, and end."""
        self._released.set()
