"""Whether a round kept the promises: pure, from what was accepted, what is in the bucket, and what storage saw."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate, pairwise

from poolhouse.local.chaos.client import Accepted
from poolhouse.local.chaos.journal import Write, mark
from poolhouse.local.chaos.receiver import Told
from poolhouse.pipeline import names
from poolhouse.pipeline.groups.group import Group
from poolhouse.pipeline.tasks.records import Outcome, Status, TaskRecord
from poolhouse.pipeline.webhooks.events import WEBHOOK

#: The statuses in which a task of each type ends. Any may be dead besides, its attempts lost with their workers; and
#: cancelled, if that was asked for.
_ENDS = {
    "echo": Status.SUCCEEDED,
    "file": Status.SUCCEEDED,
    "nap": Status.SUCCEEDED,
    "doze": Status.SUCCEEDED,
    "flaky": Status.SUCCEEDED,
    "parent": Status.SUCCEEDED,
    "crowd": Status.SUCCEEDED,
    "single": Status.SUCCEEDED,
    "stepped": Status.SUCCEEDED,
    "narrow": Status.SUCCEEDED,
    "in_turn": Status.SUCCEEDED,
    "refuse": Status.FAILED,
    "boom": Status.DEAD,
}
#: Tasks of a type that may run at a time in a slot.
_AT_A_TIME = {"narrow": 2, "in_turn": 1}
#: Times in messages have milliseconds.
_ROUNDING = timedelta(milliseconds=2)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is left of a round.

    Attributes:
        accepted: what the API answered with 202.
        records: all records in the bucket, by task id.
        results: the result objects in the bucket, by name.
        dead_letters: names of the dead letters in the bucket.
        writes: what storage saw, by object name, in the order in which it took effect.
        told: the deliveries of webhooks that their receiver took.
        most_attempts: attempts after which a task is dead, by task type.
    """

    accepted: Sequence[Accepted]
    records: Mapping[str, TaskRecord]
    results: Mapping[str, bytes]
    dead_letters: frozenset[str]
    writes: Mapping[str, Sequence[Write]]
    most_attempts: Mapping[str, int]
    told: Sequence[Told] = ()


def judge(facts: Facts) -> list[str]:
    """What is wrong, a line each; empty if every promise was kept."""
    return [
        *_ids(facts),
        *(problem for accepted in facts.accepted for problem in _task(accepted, facts)),
        *_follow_ups(facts),
        *_groups(facts),
        *_one_in_a_slot(facts),
        *_steps(facts),
        *_limits(facts),
        *_events(facts),
        *_final_writes(facts),
        *_dead_letters(facts),
    ]


def _ids(facts: Facts) -> Iterator[str]:
    ids = [accepted.task_id for accepted in facts.accepted if not accepted.exists]
    if len(set(ids)) != len(ids):
        yield "two jobs were given the same task id"
    known = {accepted.task_id for accepted in facts.accepted} | set(follow_up_ids(facts.records))
    known |= {record.task_id for record in facts.records.values() if record.group_id in _group_ids(facts)}
    for task_id in facts.records.keys() - known:
        record = facts.records[task_id]
        if record.task_type == WEBHOOK:
            continue  # it follows the end of a task
        if record.task_type == "single" and (record.status is Status.CANCELLED or _was_repeated(record, facts)):
            continue  # its call was not answered, and another task had its key when it was repeated
        yield f"{task_id}: was run, but no call was answered with it: a second task of one idempotency key?"


def _task(accepted: Accepted, facts: Facts) -> Iterator[str]:
    job, task_id = accepted.job, accepted.task_id
    record = facts.records.get(task_id)
    if record is None:
        yield f"{task_id} ({job.task_type}): accepted and lost: it has no record"
        return
    if accepted.exists:
        if record.task_type != job.task_type or record.payload.get("slot") != job.payload.get("slot"):
            yield f"{task_id} ({job.task_type}): an answer named it, but it does not have the key of {job.key}"
        return
    if not record.status.final:
        yield f"{task_id} ({job.task_type}): has not ended: {record.status}"
        return
    yield from _attempts(record, facts)
    due_at = record.submitted_at + timedelta(seconds=job.delay_s) - _ROUNDING
    if record.attempts and record.attempts[0].started_at < due_at:
        yield f"{task_id} ({job.task_type}): began before its {job.delay_s:g} s were over"
    if record.status is Status.CANCELLED:
        if not job.cancel:
            yield f"{task_id} ({job.task_type}): cancelled without a cancel call"
    elif record.status is not _ENDS[job.task_type] and record.status is not Status.DEAD:
        yield f"{task_id} ({job.task_type}): ended as {record.status}"
    if record.status is Status.SUCCEEDED:
        yield from _result(accepted, record, facts)


def _was_repeated(record: TaskRecord, facts: Facts) -> bool:
    """Whether the call that submitted a task got another task for its answer in the end."""
    return any(accepted.exists and accepted.job.number == record.payload.get("number") for accepted in facts.accepted)


def _one_in_a_slot(facts: Facts) -> Iterator[str]:
    """Unique tasks: from the first attempt of one to its end no other of its key has begun."""
    slots: dict[int, list[TaskRecord]] = {}
    for record in facts.records.values():
        if record.task_type == "single" and record.attempts:
            slots.setdefault(record.payload["slot"], []).append(record)
    for slot, found in slots.items():
        found.sort(key=lambda record: record.attempts[0].started_at)
        for first, second in pairwise(found):
            if second.attempts[0].started_at < first.updated_at:
                yield f"{second.task_id} (single): began in slot {slot} before {first.task_id} had ended"


def _steps(facts: Facts) -> Iterator[str]:
    """A step that a write of its record has does not run in a later attempt; a task that succeeded has run all."""
    for task_id, record in facts.records.items():
        recorded: dict[str, int] = {}
        for name in (names.claim(task_id), names.record(task_id)):
            for write in facts.writes.get(name, ()):
                for step, attempt in write.handler_steps.items():
                    recorded[step] = min(attempt, recorded.get(step, attempt))
        for step, attempt in recorded.items():
            again = [
                later for later in range(attempt + 1, record.last_attempt + 1) if _ran(task_id, step, later, facts)
            ]
            if again:
                yield f"{task_id} (stepped): {step} was recorded in attempt {attempt} and ran again in {again}"
            if not _ran(task_id, step, attempt, facts):
                yield f"{task_id} (stepped): {step} is said to have run in attempt {attempt}, and has not"
        if record.task_type == "stepped" and record.status is Status.SUCCEEDED:
            wanted = [f"step-{number}" for number in range(record.payload["steps"])]
            if [step.name for step in record.steps] != wanted:
                yield f"{task_id} (stepped): has succeeded with the steps {[step.name for step in record.steps]}"


def _ran(task_id: str, step: str, attempt: int, facts: Facts) -> bool:
    return mark(task_id, step, attempt) in facts.writes


def _limits(facts: Facts) -> Iterator[str]:
    """Limits of all workers together: how many attempts ran at once in a slot.

    One that was lost with its worker has no known end, and is left out.
    """
    turns: dict[tuple[str, int], list[tuple[datetime, int]]] = {}
    for record in facts.records.values():
        if record.task_type in _AT_A_TIME:
            turns.setdefault((record.task_type, record.payload["slot"]), []).extend(
                turn
                for attempt in record.attempts
                if attempt.outcome is not Outcome.LOST and attempt.ended_at is not None
                for turn in ((attempt.started_at, 1), (attempt.ended_at, -1))
            )
    for (task_type, slot), found in turns.items():
        # Of a moment's turns the ends come first: a place is free when the attempt in it has ended.
        most = max(accumulate(change for _, change in sorted(found)), default=0)
        if most > _AT_A_TIME[task_type]:
            yield f"{most} tasks of {task_type} ran at once in slot {slot}: {_AT_A_TIME[task_type]} may"


def _events(facts: Facts) -> Iterator[str]:
    """Webhooks: each end is told, as one event, whatever becomes of the workers that deliver it."""
    events: dict[str, set[str]] = {}
    for told in facts.told:
        events.setdefault(told.task_id, set()).add(told.event_id)
        record = facts.records.get(told.task_id)
        if record is None or record.status != told.status:
            yield f"{told.task_id}: its webhook told {told.status}, it is {record.status if record else 'unknown'}"
    for task_id, ids in events.items():
        if len(ids) > 1:
            yield f"{task_id}: its end was told as {len(ids)} events: {', '.join(sorted(ids))}"
    for accepted in facts.accepted:
        record = facts.records.get(accepted.task_id)
        wanted = accepted.job.told and not accepted.exists and record is not None and record.status.final
        if wanted and accepted.task_id not in events:
            yield f"{accepted.task_id} ({accepted.job.task_type}): its end was not told"


def _attempts(record: TaskRecord, facts: Facts) -> Iterator[str]:
    name = f"{record.task_id} ({record.task_type})"
    outcomes = [attempt.outcome for attempt in record.attempts]
    if Outcome.RUNNING in outcomes:
        yield f"{name}: is {record.status}, but an attempt is said to run"
    wanted = 1 if record.status is Status.SUCCEEDED else 0
    if outcomes.count(Outcome.SUCCEEDED) != wanted:
        yield f"{name}: is {record.status} with {outcomes.count(Outcome.SUCCEEDED)} attempts that succeeded"
    numbers = [attempt.number for attempt in record.attempts]
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"{name}: its attempts are numbered {numbers}"
    if record.task_type not in facts.most_attempts:
        yield f"{name}: no worker has noted its type"
        return
    most = facts.most_attempts[record.task_type]
    if record.counted_attempts > most:
        yield f"{name}: had {record.counted_attempts} attempts, more than {most}"
    if record.status is Status.DEAD and record.counted_attempts < most:
        yield f"{name}: is dead after {record.counted_attempts} of {most} attempts: {record.reason}"


def _result(accepted: Accepted, record: TaskRecord, facts: Facts) -> Iterator[str]:
    name = f"{record.task_id} ({record.task_type})"
    number = accepted.job.number
    if record.task_type == "file":
        object_name = names.result("chaos", record.task_id)
        data = facts.results.get(object_name)
        writes = facts.writes.get(object_name, ())
        if data is None:
            yield f"{name}: its result {object_name} is not there"
        elif json.loads(data) != record.result or record.result["number"] != number:
            yield f"{name}: the record says {record.result}, the result object {data.decode()}, wanted {number}"
        if len(writes) != 1:
            yield f"{name}: its result was written {len(writes)} times"
    elif record.task_type == "crowd":
        if record.result not in {group.group_id for group in record.groups or ()}:
            yield f"{name}: its result is {record.result!r}, its group is another"
    elif record.task_type == "parent":
        if record.result != [follow_up.task_id for follow_up in record.follow_ups]:
            yield f"{name}: its result is {record.result}, its follow-ups are others"
        if len(record.follow_ups) != accepted.job.payload["times"]:
            yield f"{name}: has {len(record.follow_ups)} follow-ups, not {accepted.job.payload['times']}"
    elif record.result != number:
        yield f"{name}: its result is {record.result!r}, not {number}"


def follow_up_ids(records: Mapping[str, TaskRecord]) -> list[str]:
    """The ids of all tasks that tasks which succeeded have submitted."""
    return [
        follow_up.task_id
        for record in records.values()
        if record.status is Status.SUCCEEDED
        for follow_up in record.follow_ups
    ]


def _follow_ups(facts: Facts) -> Iterator[str]:
    for task_id in follow_up_ids(facts.records):
        record = facts.records.get(task_id)
        if record is None:
            yield f"{task_id}: a follow-up task that was lost"
        elif record.status not in {Status.SUCCEEDED, Status.DEAD}:
            yield f"{task_id}: a follow-up task that ended as {record.status}"
        else:
            yield from _attempts(record, facts)


def _group_ids(facts: Facts) -> set[str]:
    """The ids of the groups of all tasks that have succeeded."""
    return {group.group_id for record in facts.records.values() for group in record.groups or ()}


def _groups(facts: Facts) -> Iterator[str]:
    """Each join runs once, after all members, with their results; it does not run while it has to wait for one."""
    of_group: dict[str, list[TaskRecord]] = {}
    for record in facts.records.values():
        if record.group_id is not None:
            of_group.setdefault(record.group_id, []).append(record)
    for maker in facts.records.values():
        for group in maker.groups or ():
            found = of_group.get(group.group_id, [])
            members = {record.group_index: record for record in found if record.group_index is not None}
            joins = [record for record in found if record.group_index is None]
            if sorted(members) != list(range(group.size or 0)):
                yield f"{group.group_id}: of {group.size} members {len(members)} were run"
                continue
            yield from _join(group, [members[index] for index in range(group.size or 0)], joins, facts)


def _join(group: Group, members: Sequence[TaskRecord], joins: Sequence[TaskRecord], facts: Facts) -> Iterator[str]:
    for member in members:
        yield from _attempts(member, facts)
        if not member.status.final:
            yield f"{member.task_id} ({member.task_type}): a member that has not ended: {member.status}"
    waits = group.wait_for == "succeeded" and any(member.status is not Status.SUCCEEDED for member in members)
    if waits or len(joins) != 1:
        if joins or not waits:
            yield f"{group.group_id}: has {len(joins)} joins, wanted {0 if waits else 1}"
        return
    [join] = joins
    yield from _attempts(join, facts)
    last_end = max((member.updated_at for member in members), default=join.submitted_at)
    if join.attempts and join.attempts[0].started_at < last_end:
        yield f"{join.task_id} ({join.task_type}): began before the last member of {group.group_id} had ended"
    wanted = [member.result if member.status is Status.SUCCEEDED else None for member in members]
    if join.status is Status.SUCCEEDED and join.result != wanted:
        yield f"{join.task_id} ({join.task_type}): its result is {join.result}, the members' are {wanted}"
    elif join.status not in {Status.SUCCEEDED, Status.DEAD}:
        yield f"{join.task_id} ({join.task_type}): a join that ended as {join.status}"


def _final_writes(facts: Facts) -> Iterator[str]:
    """Storage's own word: a record is given one final status, and after it nothing.

    A record that a cancel call made is no exception: a worker may give it its type once, under the same status.
    """
    histories: dict[str, list[Write]] = {}
    for name, found in facts.writes.items():
        if name.startswith(names.TASKS) and name != names.submitted(names.recorded_task(name)):
            histories.setdefault(names.record(names.recorded_task(name)), []).extend(found)
    for name, writes in histories.items():
        # A lease that is renewed after the attempt's end is written, but before it: it changes nothing any more.
        writes.sort(key=lambda write: (write.step, write.generation))
        statuses = [
            write.status
            for write, after in zip(writes, (*writes[1:], None), strict=True)
            if after is None or write.task_type or not after.task_type or write.status is not after.status
        ]
        finals = [status for status in statuses if status is not None and status.final]
        if len(finals) > 1:
            yield f"{name}: was given {len(finals)} final statuses: {', '.join(finals)}"
        elif finals and statuses[-1] is not finals[0]:
            yield f"{name}: was {finals[0]}, then {statuses[-1]}"


def _dead_letters(facts: Facts) -> Iterator[str]:
    wanted = {
        names.dead_letter(record.queue, record.task_id)
        for record in facts.records.values()
        if record.status in {Status.FAILED, Status.DEAD}
    }
    for name in sorted(wanted - facts.dead_letters):
        yield f"{name}: the task is dead, its dead letter is missing"
    for name in sorted(facts.dead_letters - wanted):
        yield f"{name}: a dead letter of a task that is not dead"
