"""Schedules and what is remembered of them: `schedules/NAME.json`, written with a generation precondition.

A run takes three steps: claim it (one write, which one of several schedulers wins), publish its task, note that it is
published. The task's id is derived from the schedule's name and the due time. So the scheduler that goes on after a
crash between the steps publishes the same task again, and a worker that meets it twice runs it once. API, scheduler and
commands share this module.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Protocol

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, ValidationError

from poolhouse.pipeline import names
from poolhouse.pipeline.config.schedule import Schedule
from poolhouse.pipeline.config.topology import Topology
from poolhouse.pipeline.errors import (
    ConfigError,
    Conflict,
    ObjectNotFound,
    PreconditionFailed,
    ScheduleNotFound,
    StoreUnavailable,
)
from poolhouse.pipeline.hooks import Hooks
from poolhouse.pipeline.messaging.message import TaskMessage, format_time
from poolhouse.pipeline.messaging.publisher import Publisher
from poolhouse.pipeline.store import ABSENT, ObjectStore
from poolhouse.pipeline.tasks.links import Links
from poolhouse.pipeline.tasks.task_ids import TaskIds
from poolhouse.pipeline.timing import clock
from poolhouse.pipeline.timing.cron import latest_due

#: A run noticed later than this after its time counts as missed, in seconds: as long as a scheduler's restart may take.
MISSED_AFTER_S = 60.0
#: A claimed run that is not published after this many seconds belongs to the scheduler that finds it; beyond any
#: publish timeout that makes sense, so that the claimant is dead and not slow.
CLAIM_S = 30.0
#: Times that a change is tried anew because another wrote in between.
_TRIES = 10
#: Oldest due time that is run when a scheduler outside asks for it: older ones are no retry of a scheduler.
LONGEST_DELAY = timedelta(days=31)
#: Times outside are taken for these: in between there is room for any zone and any wait.
_EARLIEST, _LATEST = datetime(1970, 1, 2, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)


def _bounded(at: datetime) -> datetime:
    """Return an instant in UTC that can be calculated with."""
    # Compared without the zone: what lies at the ends of the calendar has no UTC.
    if not _EARLIEST.year < at.year < _LATEST.year:
        return _EARLIEST if at.year <= _EARLIEST.year else _LATEST
    return at.astimezone(UTC)


class TaskType(Protocol):
    """What a schedule must know of a task type; a handler is one."""

    def queue_in(self, topology: Topology) -> str:
        """Return the queue of tasks that name none."""

    def parse(self, payload: Mapping[str, Any]) -> Any:
        """Raise `pydantic.ValidationError` where the payload is none of this type."""


def queue_of(task_type: str, *, task_types: Mapping[str, TaskType], topology: Topology) -> str:
    """The queue of tasks that name none: the task type's, or the pipeline's default."""
    found = task_types.get(task_type)
    return topology.default_queue.name if found is None else found.queue_in(topology)


def problem_of(schedule: Schedule, task_types: Mapping[str, TaskType]) -> str | None:
    """Why the tasks of a schedule can't be submitted; None if they can."""
    return payload_problem(schedule.task_type, schedule.payload, task_types)


def payload_problem(task_type: str, payload: Mapping[str, Any], task_types: Mapping[str, TaskType]) -> str | None:
    """Why a declared task can't be submitted; None if it can."""
    found = task_types.get(task_type)
    if found is None:
        return f"unknown task type {task_type!r} (known: {', '.join(task_types) or 'none'})"
    try:
        found.parse(payload)
    except ValidationError as error:
        return "; ".join(
            f"payload.{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()
        )
    return None


#: A time that is read from the bucket.
Instant = Annotated[AwareDatetime, AfterValidator(_bounded)]


class Run(BaseModel):
    """One run of a schedule."""

    model_config = ConfigDict(frozen=True)

    task_id: str
    #: The time of the cron expression; for a run by hand, the time of the call.
    due_at: Instant
    by_hand: bool = False
    #: Who claimed it, and when.
    owner: str
    claimed_at: Instant
    #: None while it is unknown whether Pub/Sub has the task.
    published_at: Instant | None = None

    def claim_expires_at(self, *, now: datetime) -> datetime:
        """When another may take over the run; a claim from the future is that of a wrong clock, and has expired."""
        return now if _is_ahead(self.claimed_at, now) else self.claimed_at + timedelta(seconds=CLAIM_S)


class ScheduleState(BaseModel):
    """What is remembered of a schedule."""

    model_config = ConfigDict(frozen=True)

    #: The expression that `settled_until` was settled with: after a change in pipeline.toml nothing counts as missed.
    cron: str
    time_zone: str
    #: Due times up to here are dealt with: run, or given up.
    settled_until: Instant
    paused_at: Instant | None = None
    last_run: Run | None = None

    @property
    def pending(self) -> Run | None:
        """The run that is claimed and perhaps not published."""
        return self.last_run if self.last_run is not None and self.last_run.published_at is None else None


@dataclass(frozen=True)
class StoredState:
    """A state and the generation it was read or written at."""

    state: ScheduleState
    generation: int


def due_time_problem(due_at: datetime, *, now: datetime) -> str | None:
    """Return what is wrong with a due time that a scheduler outside names; None where nothing is."""
    if _is_ahead(due_at, now):
        return f"is more than {clock.MARGIN.total_seconds():g} s ahead of the time here, {format_time(now)}"
    if due_at < now - LONGEST_DELAY:
        return f"is more than {LONGEST_DELAY.days} days ago"
    return None


def fresh(schedule: Schedule, *, since: datetime) -> ScheduleState:
    """The state of a schedule that is seen for the first time: what was due before is not run."""
    return ScheduleState(cron=schedule.cron, time_zone=schedule.time_zone, settled_until=since)


def current(state: ScheduleState, schedule: Schedule, *, now: datetime, since: datetime) -> ScheduleState:
    """The state under what pipeline.toml says now, and under the time that it is.

    A state from the future was written while a clock was wrong. What was run then is not run again: ids of tasks are
    derived from due times.

    Args:
        state: as it was read.
        schedule: as it is declared.
        now: the time.
        since: from when on a changed expression holds.
    """
    settled_until = now if _is_ahead(state.settled_until, now) else state.settled_until
    if (state.cron, state.time_zone) != (schedule.cron, schedule.time_zone):
        settled_until = max(since, settled_until)
    update = {"cron": schedule.cron, "time_zone": schedule.time_zone, "settled_until": settled_until}
    return state.model_copy(update=update)


def paused(state: ScheduleState, *, now: datetime) -> ScheduleState:
    """The state from a pause on; an earlier pause goes on."""
    return state if state.paused_at is not None else state.model_copy(update={"paused_at": now})


def resumed(state: ScheduleState, *, now: datetime) -> ScheduleState:
    """The state from the end of a pause on: what was due meanwhile is not made up for."""
    if state.paused_at is None:
        return state
    return state.model_copy(update={"paused_at": None, "settled_until": max(now, state.settled_until)})


def run_due(schedule: Schedule, state: ScheduleState, *, now: datetime) -> datetime | None:
    """The due time to run now, if any.

    Of several that have passed only the last one runs: late runs don't pile up. One that was missed while no scheduler
    ran (`MISSED_AFTER_S`) runs where `missed_runs` says `once`.
    """
    if state.paused_at is not None:
        return None
    due = latest_due(schedule, after=state.settled_until, until=now)
    if due is None or (schedule.missed_runs == "skip" and now - due > timedelta(seconds=MISSED_AFTER_S)):
        return None
    return due


def _is_ahead(at: datetime, now: datetime) -> bool:
    return at - now > clock.MARGIN


class Schedules:
    """The schedules of a deployment. Every call may raise `StoreUnavailable`."""

    def __init__(
        self,
        store: ObjectStore,
        *,
        topology: Topology,
        task_ids: TaskIds,
        publisher: Publisher,
        queue_of: Callable[[str], str],
        owner: str,
        hooks: Hooks | None = None,
    ) -> None:
        """The schedules of `topology`.

        Args:
            store: the bucket.
            topology: with the schedules.
            task_ids: of the deployment.
            publisher: its queues.
            queue_of: the queue of a task type; for schedules that name none.
            owner: name of this process, in the claims that it makes.
            hooks: called for each task that is published.
        """
        self._store = store
        self._by_name = {schedule.name: schedule for schedule in topology.schedules}
        self._task_ids = task_ids
        self._publisher = publisher
        self._queue_of = queue_of
        self._owner = owner
        self._hooks = hooks or Hooks()

    @property
    def declared(self) -> tuple[Schedule, ...]:
        """The schedules of pipeline.toml."""
        return tuple(self._by_name.values())

    def named(self, name: str) -> Schedule:
        """A schedule. Raises `ScheduleNotFound`."""
        try:
            return self._by_name[name]
        except KeyError:
            known = ", ".join(self._by_name) or "none"
            raise ScheduleNotFound(f"there is no schedule {name[:100]!r} (schedules: {known})") from None

    def read(self, name: str) -> StoredState | None:
        """What is remembered of a schedule; None before a scheduler has seen it.

        Raises:
            ConfigError: the object is none that this version can read.
        """
        self.named(name)
        try:
            data, info = self._store.get(names.schedule(name))
        except ObjectNotFound:
            return None
        try:
            state = ScheduleState.model_validate_json(data)
            if state.pending is not None:
                state = _noted(state, self._note(name))
            return StoredState(state, info.generation)
        except ValidationError as error:
            raise ConfigError(
                f"{names.schedule(name)} in the bucket is not a valid state of a schedule: delete it"
            ) from error

    def _note(self, name: str) -> Run | None:
        """The last run that is known to be published."""
        try:
            return Run.model_validate_json(self._store.get(names.published_run(name))[0])
        except ObjectNotFound:
            return None

    def look(self, name: str, *, now: datetime, since: datetime | None = None) -> StoredState:
        """What is remembered, brought up to date with pipeline.toml, begun where there is nothing yet.

        Args:
            name: of the schedule.
            now: the time.
            since: from when on a schedule that is new or changed is run; None for now.

        Raises:
            PreconditionFailed: another wrote in between.
        """
        schedule, stored, since = self.named(name), self.read(name), since or now
        state = (
            fresh(schedule, since=since) if stored is None else current(stored.state, schedule, now=now, since=since)
        )
        return stored if stored is not None and stored.state == state else self._write(name, state, stored)

    def pause(self, name: str, *, now: datetime) -> ScheduleState:
        """Run a schedule no more until it is resumed. Raises `ScheduleNotFound`, `Conflict`."""
        return self._change(name, lambda state: paused(state, now=now), now=now)

    def resume(self, name: str, *, now: datetime) -> ScheduleState:
        """End a pause. Raises `ScheduleNotFound`, `Conflict`."""
        return self._change(name, lambda state: resumed(state, now=now), now=now)

    def run(self, name: str, *, now: datetime) -> tuple[str, str]:
        """Run a schedule now, paused or not; its times stay as they are. Returns the ids of the task and its message.

        Raises:
            ScheduleNotFound: there is no such schedule.
            QueueUnavailable: not published.
        """
        schedule = self.named(name)
        task = self._task(schedule, task_id=self._task_ids.new(now), at=now)
        message_id = self._publisher.submit(self._hooks.submitting(task)).result()
        made = Run(task_id=task.task_id, due_at=now, by_hand=True, owner=self._owner, claimed_at=now, published_at=now)
        # Only for people to see: the task is submitted, whatever becomes of this; and a run still to be published
        # is not forgotten for it.
        with contextlib.suppress(ConfigError, Conflict, StoreUnavailable):
            self._change(
                name, lambda state: state if state.pending else state.model_copy(update={"last_run": made}), now=now
            )
        return task.task_id, message_id

    def claim(self, name: str, stored: StoredState, *, due_at: datetime, now: datetime) -> StoredState:
        """Claim the run of a due time. Raises `PreconditionFailed` where another was first."""
        task_id = self._task_ids.derive(f"schedule {name} {format_time(due_at)}", due_at)
        run = Run(task_id=task_id, due_at=due_at, owner=self._owner, claimed_at=now)
        state = stored.state.model_copy(update={"settled_until": due_at, "last_run": run})
        return self._write(name, state, stored)

    def take_over(self, name: str, stored: StoredState, *, now: datetime) -> StoredState:
        """Claim the pending run of one who has gone. Raises `PreconditionFailed` where another was first."""
        assert stored.state.pending is not None
        run = stored.state.pending.model_copy(update={"owner": self._owner, "claimed_at": now})
        return self._write(name, stored.state.model_copy(update={"last_run": run}), stored)

    def publish(self, name: str, stored: StoredState, *, now: datetime) -> Run:
        """Publish the pending run that is ours, and note that it is.

        Raises:
            QueueUnavailable: not published, or without an answer: call again, it is the same task.
            MessageRefused: Pub/Sub will never take it.
        """
        run = stored.state.pending
        assert run is not None
        task = self._task(self.named(name), task_id=run.task_id, at=run.due_at)
        self._publisher.submit(self._hooks.submitting(task)).result()
        run = run.model_copy(update={"published_at": now})
        # An object of its own: storage takes one write per second of a name, and the claim was written just now.
        self._store.put(names.published_run(name), run.model_dump_json(exclude_none=True).encode())
        return run

    def run_at(self, name: str, *, due_at: datetime, now: datetime) -> Run | None:
        """Run a due time that a scheduler outside keeps count of; None where it is settled, or the schedule paused.

        Args:
            name: of the schedule.
            due_at: a time without a `due_time_problem`.
            now: the time.

        Raises:
            ScheduleNotFound: there is no such schedule.
            QueueUnavailable: not published, or without an answer: call again, it is the same task.
            Conflict: others write all the time.
        """
        for _ in range(_TRIES):
            try:
                stored = self.look(name, now=now, since=min(now, due_at - timedelta(seconds=1)))
                pending = stored.state.pending
                if pending is not None and pending.due_at == due_at:
                    stored = self.take_over(name, stored, now=now)
                elif stored.state.paused_at is not None or due_at <= stored.state.settled_until:
                    return None
                else:
                    stored = self.claim(name, stored, due_at=due_at, now=now)
            except PreconditionFailed:
                continue
            return self.publish(name, stored, now=now)
        raise _always_changing(name)

    def queue_of(self, schedule: Schedule) -> str:
        """The queue of a schedule's tasks."""
        return schedule.queue or self._queue_of(schedule.task_type)

    def _task(self, schedule: Schedule, *, task_id: str, at: datetime) -> TaskMessage:
        return TaskMessage(
            task_id=task_id,
            task_type=schedule.task_type,
            submitted_at=at,
            queue=self.queue_of(schedule),
            payload=schedule.payload,
            links=Links(schedule=schedule.name),
        )

    def _change(self, name: str, change: Callable[[ScheduleState], ScheduleState], *, now: datetime) -> ScheduleState:
        for _ in range(_TRIES):
            try:
                stored = self.look(name, now=now)
                changed = change(stored.state)
                return stored.state if changed == stored.state else self._write(name, changed, stored).state
            except PreconditionFailed:
                continue
        raise _always_changing(name)

    def _write(self, name: str, state: ScheduleState, stored: StoredState | None) -> StoredState:
        object_name, data = names.schedule(name), state.model_dump_json(exclude_none=True).encode()
        generation = ABSENT if stored is None else stored.generation
        try:
            return StoredState(state, self._store.put(object_name, data, if_generation=generation))
        except PreconditionFailed:
            # A repeated request whose first answer was lost ends so too. A claim names its owner and time, so what
            # reads the same as ours is ours, or says just what we wanted to say.
            found = self.read(name)
            if found is not None and found.state == state:
                return found
            raise


def _noted(state: ScheduleState, run: Run | None) -> ScheduleState:
    same = run is not None and state.last_run is not None and state.last_run.task_id == run.task_id
    return state.model_copy(update={"last_run": run}) if same else state


def _always_changing(name: str) -> Conflict:
    return Conflict(f"schedule {name} changes all the time: try again in a moment")
