"""One process's part of a limit that all workers share: what it holds, and when it reads or writes the limit's object.

The rules are `poolhouse.pipeline.limits.shares`. Between two writes the process uses what it holds without asking: a
slot for one task after the other, a start again once its span is over. Before a write that gives units back it stops
using them; after a write whose outcome is unknown it uses only what both outcomes allow, until a later write has
settled it.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import structlog

from poolhouse.pipeline.errors import PreconditionFailed, StoreUnavailable
from poolhouse.pipeline.json_values import clean_text
from poolhouse.pipeline.limits.limit_store import LimitStore, object_name
from poolhouse.pipeline.limits.shares import (
    CLOCK_MARGIN,
    Holder,
    LimitState,
    Need,
    Rule,
    Surplus,
    released,
    renewed,
    surplus,
)
from poolhouse.pipeline.store import ABSENT
from poolhouse.worker.runtime.admission.gate import Line
from poolhouse.worker.runtime.admission.usage import Usage

#: Least time between two writes of one limit by this process, and after another's.
WRITE_EVERY = timedelta(seconds=1)
#: Time between two looks at what others need, while this process has units to spare or tasks that wait.
LOOK_EVERY = timedelta(seconds=2)
#: First and longest time between two looks of a process that waits for units.
FIRST_POLL, LONGEST_POLL = timedelta(seconds=0.5), timedelta(seconds=5)
#: Time that a process with tasks of its own keeps what it got, before others that lack it get their turn.
TURN = timedelta(seconds=2)
#: Time without use after which all is given back.
IDLE = timedelta(seconds=5)
#: Longest span of a rate that an idle process waits out to give its starts back unused.
KEPT_SPAN = timedelta(seconds=60)
#: A wait for a rate longer than this is slept through without a lease.
LONG_WAIT = timedelta(seconds=30)
LONGEST_SLEEP = timedelta(seconds=300)
#: Longest pause after a storage error.
LONGEST_PAUSE_S = 5.0
#: Deliveries that wait at one gate; more come again later.
MOST_WAITING = 100
#: Deliveries that wait at all gates of a process; beyond that only the first one at a gate may.
MOST_WAITING_IN_ALL = 500
#: Beyond this none does: the rest of what a worker holds is for tasks that need not wait (`PARKED_MESSAGES`).
MOST_WAITING_EVER = 800

_NEVER = datetime.min.replace(tzinfo=UTC)
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Step:
    """What to do next with the object, and when."""

    at: datetime
    what: Literal["look", "renew", "release"]


class SharedGate:
    """`Gate` of one limit and key. `plan` and what `Gate` has are called under the lock; `act` takes it itself."""

    def __init__(
        self,
        state: LimitState,
        rule: Rule,
        *,
        process: str,
        store: LimitStore,
        lock: AbstractContextManager[object],
        now: Callable[[], datetime],
        chance: random.Random,
    ) -> None:
        """Hold nothing yet, and call nothing.

        Args:
            state: what a new object of this limit says.
            rule: how many units there are.
            process: the name of this process, unlike any other's.
            lock: held by the caller of all but `act`.
            now: the clock.
            chance: keeps processes that collided from doing so again.
        """
        self.line = Line()
        self.title = _title(state)
        self.rule = rule
        self.name = object_name(state.task_type, state.kind, state.key)
        self._new = state
        self._process = process
        self._store = store
        self._lock = lock
        self._now = now
        self._chance = chance
        #: What the object said, as far as we know, and its generation; None: it must be read first.
        self._seen = state
        self._generation: int | None = ABSENT
        #: Whether a write may still take effect that we know nothing of.
        self._unsettled = False
        self._slots = self._starts = 0
        self._until = _NEVER
        self._renew_at = _NEVER
        self._usage = Usage(rule)
        self._wrote_at = self._looked_at = self._turn_since = _NEVER
        self._not_before = self._asleep_until = _NEVER
        self._failures = 0
        self._acting = threading.Lock()

    # --- the gate

    def open(self) -> bool:
        now = self._now()
        if now >= self._until:
            return False
        kept = self._surplus(now) if self._yields(now) else Surplus()
        slots, starts = self._usage.busy(now)
        return (self.rule.slots is None or slots < self._slots - kept.slots) and (
            self.rule.rate is None or starts < self._starts - kept.starts
        )

    def enter(self) -> None:
        self._usage.enter(self._now())

    def start(self) -> None:
        self._usage.start(self._now())

    def leave(self, *, started: bool) -> None:
        self._usage.leave(self._now(), started=started)

    def full(self, waiting: int) -> float | None:
        most = MOST_WAITING_IN_ALL if self.line else MOST_WAITING_EVER
        if len(self.line) < MOST_WAITING and waiting < most:
            return None
        return self._usage.put_off_s(
            self._now(),
            slots=self._slots,
            starts=self._starts,
            sharing=max(1, len(self._seen.holders)),
            waiting=len(self.line),
        )

    # --- the object

    @property
    def unused(self) -> bool:
        """Whether it can be forgotten."""
        return self.plan() is None

    @property
    def waits_for_rate(self) -> bool:
        """Whether nothing but the span of a rate keeps what waits from starting."""
        now = self._now()
        return self._asleep_until > now or (
            self.rule.rate is not None and now < self._until and self._usage.busy(now)[1] >= self._starts > 0
        )

    def next_room_at(self, now: datetime) -> datetime | None:
        """When a start's span ends, so that something that waits may start; None where that is not waited for."""
        if not self.line or self.rule.rate is None or not self._usage.started:
            return None
        at = self._usage.started[0] + self.rule.span
        return at if at > now else None

    def plan(self) -> Step | None:
        """What to do next; None where it holds nothing and nothing needs it."""
        now = self._now()
        slots, starts = self._needs(now)
        idle = not self.line and not self._usage.running
        mine = self._seen.holders.get(self._process)
        if mine is None and idle and not self._unsettled:
            return None
        if self._generation is None:
            return Step(self._not_before, "look")
        may_write = max(self._wrote_at + WRITE_EVERY, self._not_before)
        if mine is None or self._unsettled:
            return Step(max(may_write, self._asleep_until), "renew" if not idle else "release")
        lacking = surplus(self._seen, self._process, rule=self.rule, slots=slots, starts=starts, now=now)
        if idle:
            return self._plan_idle(may_write, others_wait=lacking != Surplus())
        if self._sleep_until(now) is not None:
            return Step(may_write, "release")
        steps = [Step(max(self._renew_at, self._not_before), "renew")]
        if self.line and not self.open():
            steps.append(self._plan_wait(mine, slots, starts, may_write))
        if lacking != Surplus():
            turn_ends = self._turn_since + TURN if self.line else now
            steps.append(Step(max(may_write, turn_ends), "renew"))
        if self.line or slots.busy < self._slots or starts.busy < self._starts:
            steps.append(Step(self._looked_at + LOOK_EVERY, "look"))
        return min(steps, key=lambda step: step.at)

    def act(self) -> bool:
        """Do what is due, one call; returns whether something was. One that is acting already does nothing."""
        if not self._acting.acquire(blocking=False):
            return False
        try:
            with self._lock:
                now = self._now()
                step = self.plan()
                if step is None or step.at > now:
                    return False
                change = None if step.what == "look" else self._change(step.what, now)
            if change is None:
                self._look()
            else:
                self._write(*change, now=now)
        finally:
            self._acting.release()
        return True

    def give_back(self) -> None:
        """Give back all that is not in use, at the end of the process; never raises."""
        with self._lock:
            if self._process not in self._seen.holders or self._generation is None or self._usage.running:
                return  # its lease ends by itself
            now = self._now()
            change = self._change("release", now)
        self._write(*change, now=now)

    def _plan_idle(self, may_write: datetime, *, others_wait: bool) -> Step:
        gone_at = self._usage.used_at + IDLE
        if self._usage.started and self.rule.span <= KEPT_SPAN:
            gone_at = max(gone_at, self._usage.started[-1] + self.rule.span)
        if others_wait:
            return Step(may_write, "renew" if self._usage.started else "release")
        steps = [
            Step(max(may_write, gone_at), "release"),
            Step(max(self._renew_at, self._not_before), "renew"),
            # At once after its last task, for what waits elsewhere; then now and then.
            Step(self._looked_at + (FIRST_POLL if self._looked_at < self._usage.used_at else LOOK_EVERY), "look"),
        ]
        return min(steps, key=lambda step: step.at)

    def _plan_wait(self, mine: Holder, slots: Need, starts: Need, may_write: datetime) -> Step:
        """Announce what is needed where others can't know it; else check whether it is free."""
        first = self.line.first_submitted_at
        notified = mine.waiting_since is not None and first is not None and first >= mine.waiting_since
        more = slots.want > 2 * mine.slots.want or starts.want > 2 * mine.starts.want
        if not notified or more or self._free_for(slots, starts):
            return Step(may_write, "renew")
        waited = self._looked_at - self._wrote_at
        return Step(self._looked_at + min(LONGEST_POLL, max(FIRST_POLL, waited / 8)), "look")

    def _free_for(self, slots: Need, starts: Need) -> bool:
        """Whether the object shows unassigned units that are lacking here."""
        holders = self._seen.holders.values()
        free_slots = (self.rule.slots or 0) - sum(holder.slots.have for holder in holders)
        if self.rule.slots is not None and slots.busy >= self._slots and free_slots <= 0:
            return False
        if self.rule.rate is None:
            return free_slots > 0
        cooling = sum(each.count for each in self._seen.cooling if each.free_at > self._now())
        free_starts = self.rule.rate.starts - cooling - sum(holder.starts.have for holder in holders)
        return free_starts > 0 if starts.busy >= self._starts else free_slots > 0

    def _sleep_until(self, now: datetime) -> datetime | None:
        """Until when only the spans of a long rate are waited for; None where that is not so, or soon."""
        if self.rule.rate is None or self._usage.running or not self.line:
            return None
        others = (holder for name, holder in self._seen.holders.items() if name != self._process)
        if self._starts > len(self._usage.started) or any(holder.starts.have for holder in others):
            return None
        ends = [each.free_at for each in self._seen.cooling]
        ends += [at + self.rule.span + CLOCK_MARGIN for at in self._usage.started]
        earliest = min(ends, default=now)
        return min(earliest, now + LONGEST_SLEEP) if earliest - now > LONG_WAIT else None

    def _change(self, what: Literal["renew", "release"], now: datetime) -> tuple[LimitState, bool]:
        """The state to write, and whether it gives all back; from here on only what it leaves is used."""
        if what == "release":
            until = self._sleep_until(now)
            state = released(self._seen, self._process, rule=self.rule, cooling=self._usage.cooling(), now=now)
            self._slots = self._starts = 0
            self._asleep_until = until or _NEVER
            return state, True
        slots, starts = self._needs(now)
        state = renewed(
            self._seen,
            self._process,
            rule=self.rule,
            slots=slots,
            starts=starts,
            waiting=len(self.line),
            waiting_since=self.line.first_submitted_at,
            now=now,
        )
        mine = state.holders[self._process]
        self._slots = min(self._slots, mine.slots.have)
        self._starts = min(self._starts, mine.starts.have)
        return state, False

    def _write(self, state: LimitState, gives_back: bool, *, now: datetime) -> None:
        assert self._generation is not None
        try:
            generation = self._store.write(self.name, state, if_generation=self._generation)
        except PreconditionFailed:
            with self._lock:
                self._generation = None
                self._not_before = self._now() + timedelta(seconds=self._chance.uniform(0.05, 0.3))
            return
        except StoreUnavailable as error:
            with self._lock:
                self._unsettled = True
                self._fail(error)
            return
        with self._lock:
            before = self._slots, self._starts
            self._generation, self._seen, self._unsettled, self._failures = generation, state, False, 0
            self._wrote_at = self._looked_at = now
            if gives_back:
                self._usage.started.clear()
                self._until = _NEVER
                return
            mine = state.holders[self._process]
            self._slots, self._starts, self._until = mine.slots.have, mine.starts.have, mine.until
            self._renew_at = now + (mine.until - now) / 3
            if before != (self._slots, self._starts):
                self._turn_since = now

    def _look(self) -> None:
        try:
            state, generation = self._store.read(self.name)
        except StoreUnavailable as error:
            with self._lock:
                self._fail(error)
            return
        with self._lock:
            now = self._now()
            self._failures = 0
            self._seen = self._new if state is None or state.empty else state
            self._generation, self._looked_at = generation, now
            if state is not None and timedelta() <= now - state.updated_at < WRITE_EVERY:
                jitter = timedelta(seconds=self._chance.uniform(0, 0.3))
                self._not_before = max(self._not_before, state.updated_at + WRITE_EVERY + jitter)
            mine = self._seen.holders.get(self._process)
            slots, starts = (mine.slots.have, mine.starts.have) if mine else (0, 0)
            if self._unsettled:
                slots, starts = min(slots, self._slots), min(starts, self._starts)
            if (slots, starts) != (self._slots, self._starts):
                self._turn_since = now
            self._slots, self._starts = slots, starts
            self._until = mine.until if mine else _NEVER

    def _fail(self, error: StoreUnavailable) -> None:
        self._generation = None
        self._failures += 1
        pause_s = min(LONGEST_PAUSE_S, 0.5 * 2.0**self._failures) * self._chance.uniform(0.5, 1)
        self._not_before = self._now() + timedelta(seconds=pause_s)
        _log.warning("a limit waits for storage", limit=self.name, error=str(error), wait_s=round(pause_s, 1))

    def _needs(self, now: datetime) -> tuple[Need, Need]:
        return self._usage.needs(now, waiting=len(self.line))

    def _yields(self, now: datetime) -> bool:
        """Whether it is time to let others have what they lack."""
        if len(self._seen.holders) < 2 or now < self._not_before or now < self._wrote_at + WRITE_EVERY:
            return False
        return not self.line or now >= self._turn_since + TURN

    def _surplus(self, now: datetime) -> Surplus:
        slots, starts = self._needs(now)
        return surplus(self._seen, self._process, rule=self.rule, slots=slots, starts=starts, now=now)


def _title(state: LimitState) -> str:
    values = ", ".join(f"{name}={value}" for name, value in state.key.items())
    what = "the turn" if state.kind == "serial" else "the limit"
    return clean_text(f"{what} of {state.task_type}{f' ({values})' if values else ''}", one_line=True, limit=300)
