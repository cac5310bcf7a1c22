"""The plan of a round of chaos, and the judgement of its end."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from poolhouse.local.chaos.client import Accepted
from poolhouse.local.chaos.journal import Journal, Write, mark
from poolhouse.local.chaos.plan import Job, make_plan
from poolhouse.local.chaos.receiver import Told
from poolhouse.local.chaos.verdict import Facts, judge
from poolhouse.local.storage.proxy import Exchange
from poolhouse.pipeline import names
from poolhouse.pipeline.groups.group import Group
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.tasks import transitions
from poolhouse.pipeline.tasks.records import FollowUp, Outcome, Status, Step, TaskRecord

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_the_same_seed_makes_the_same_plan() -> None:
    assert make_plan(3, tasks=200, length_s=20) == make_plan(3, tasks=200, length_s=20)
    assert make_plan(3, tasks=200, length_s=20) != make_plan(4, tasks=200, length_s=20)


def test_every_kind_of_fault_comes_in_every_round_and_ends_with_it() -> None:
    plan = make_plan(1, tasks=10, length_s=12)
    kinds = {(spell.server, spell.kind) for spell in plan.spells}
    assert len(kinds) == 11
    assert all(0 <= spell.at_s < spell.until_s <= 12 for spell in plan.spells)
    assert {blow.target for blow in plan.blows} >= {"worker"}


def test_in_the_middle_of_every_round_a_deploy_replaces_all() -> None:
    for seed in range(20):
        deploys = [blow for blow in make_plan(seed, tasks=10, length_s=12).blows if blow.way == "deploy"]
        assert [(blow.target, blow.at_s) for blow in deploys] == [("all", 6)]


def _record(task_id: str, task_type: str, *, result: Any = None, follow_ups: Iterable[FollowUp] = ()) -> TaskRecord:
    task = TaskMessage(task_id=task_id, task_type=task_type, submitted_at=NOW, queue="urgent", payload={"number": 5})
    run = transitions.claim(None, task, owner="o", worker="w", now=NOW, lease_s=10, max_attempts=3)
    assert isinstance(run, transitions.Run)
    return transitions.succeeded(run.record, now=NOW, result=result, follow_ups=tuple(follow_ups))


def _writes(name: str, *statuses: Status | None, task_type: str = "file") -> tuple[Write, ...]:
    return tuple(
        Write(name=name, generation=place, status=status, task_type=task_type) for place, status in enumerate(statuses)
    )


def _facts() -> Facts:
    """A round that went well: one task of type file."""
    job = Job(key="k", at_s=0, task_type="file", queue="urgent", payload={"number": 5})
    result = names.result("chaos", "a")
    return Facts(
        accepted=(Accepted(job, "a"),),
        records={"a": _record("a", "file", result={"number": 5})},
        results={result: b'{"number": 5}'},
        dead_letters=frozenset(),
        writes={
            names.record("a"): _writes(names.record("a"), Status.RUNNING, Status.SUCCEEDED),
            result: _writes(result, None),
        },
        most_attempts={"file": 3, "echo": 3},
    )


def test_a_round_that_went_well_has_no_problems() -> None:
    assert judge(_facts()) == []


def _cancelled(*writes: Write) -> Facts:
    """The same round, its task cancelled before a worker saw it."""
    job = replace(_facts().accepted[0].job, cancel=True)
    record = _facts().records["a"].model_copy(update={"status": Status.CANCELLED, "attempts": ()})
    return replace(
        _facts(), accepted=(Accepted(job, "a"),), records={"a": record}, results={}, writes={names.record("a"): writes}
    )


def _stepped(*, ran: Iterable[tuple[str, int]] = (("step-0", 1), ("step-1", 2)), steps: int = 2) -> Facts:
    """A task of two steps whose first attempt was lost behind the first of them."""
    record = _record("a", "stepped", result=5)
    [first] = record.attempts
    lost = first.model_copy(update={"outcome": Outcome.LOST})
    taken = [Step(name=f"step-{n}", attempt=n + 1, started_at=NOW, ended_at=NOW) for n in range(2)]
    record = record.model_copy(
        update={
            "attempts": (lost, first.model_copy(update={"number": 2})),
            "steps": tuple(taken),
            "payload": {"number": 5, "steps": steps},
        }
    )
    name = names.record("a")
    writes = (
        Write(name=name, generation=1, status=Status.RUNNING, task_type="stepped", handler_steps={"step-0": 1}),
        Write(
            name=name,
            generation=2,
            status=Status.SUCCEEDED,
            task_type="stepped",
            handler_steps={"step-0": 1, "step-1": 2},
        ),
    )
    marks = {mark("a", step, attempt): _writes(mark("a", step, attempt), None) for step, attempt in ran}
    job = Job(key="k", at_s=0, task_type="stepped", queue="urgent", payload={"number": 5})
    return replace(
        _facts(),
        accepted=(Accepted(job, "a"),),
        records={"a": record},
        writes={name: writes, **marks},
        results={},
        most_attempts={"stepped": 3},
    )


def test_a_task_that_went_on_behind_its_recorded_step_has_no_problems() -> None:
    assert judge(_stepped()) == []
    unrecorded = (("step-0", 1), ("step-1", 1), ("step-1", 2))  # it was killed before its second step was recorded
    assert judge(_stepped(ran=unrecorded)) == []


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        (_stepped(ran=(("step-0", 1), ("step-0", 2), ("step-1", 2))), "step-0 was recorded in attempt 1 and ran again"),
        (_stepped(ran=(("step-0", 1),)), "step-1 is said to have run in attempt 2, and has not"),
        (_stepped(steps=3), "has succeeded with the steps"),
    ],
)
def test_a_broken_promise_about_steps_is_found(facts: Facts, problem: str) -> None:
    [found] = judge(facts)
    assert problem in found


UNKNOWN, KNOWN = (
    _writes(names.record("a"), Status.CANCELLED, task_type="")[0],
    _writes(names.record("a"), Status.CANCELLED)[0],
)


def test_a_lease_renewed_as_the_task_ended_is_no_later_status() -> None:
    claim, record = names.claim("a"), names.record("a")
    renewed = Write(name=claim, generation=9, status=Status.RUNNING, task_type="file", step=1)
    ended = Write(name=record, generation=5, status=Status.SUCCEEDED, task_type="file", step=2)
    facts = _facts()
    writes = {**facts.writes, claim: (*_writes(claim, Status.RUNNING), renewed), record: (ended,)}
    assert judge(replace(facts, writes=writes)) == []
    late = replace(renewed, step=3)
    assert any("then running" in problem for problem in judge(replace(facts, writes={**writes, claim: (late,)})))


def test_a_task_cancelled_unseen_is_given_its_type_afterwards() -> None:
    assert judge(_cancelled(UNKNOWN, KNOWN)) == []


def _singles(*, apart_s: float, **changes: Any) -> Facts:
    """Two unique tasks of one slot, the second begun some seconds after the first, which took five."""
    found = {}
    for task_id, began_s in (("a", 0.0), ("b", apart_s)):
        began = NOW + timedelta(seconds=began_s)
        record = _record(task_id, "single", result=5)
        attempt = record.attempts[0].model_copy(update={"started_at": began, "ended_at": began + timedelta(seconds=5)})
        found[task_id] = record.model_copy(
            update={
                "payload": {"number": 5, "slot": 1},
                "attempts": (attempt,),
                "updated_at": began + timedelta(seconds=5),
            }
        )
    job = Job(key="k", at_s=0, task_type="single", queue="urgent", payload={"number": 5, "slot": 1})
    return replace(
        _facts(),
        accepted=(Accepted(job, "a"), Accepted(job, "b"), Accepted(replace(job, **changes), "b", exists=True)),
        records=found,
        results={},
        writes={},
        most_attempts={"single": 3},
    )


def _of_type(facts: Facts, task_type: str) -> list[str]:
    """The problems with limits, were the tasks of another type."""
    changed = {task_id: record.model_copy(update={"task_type": task_type}) for task_id, record in facts.records.items()}
    return [line for line in judge(replace(facts, records=changed)) if "ran at once" in line]


def test_more_at_a_time_than_a_limit_allows_is_a_problem_and_as_many_is_none() -> None:
    assert _of_type(_singles(apart_s=4), "in_turn") == ["2 tasks of in_turn ran at once in slot 1: 1 may"]
    assert _of_type(_singles(apart_s=5), "in_turn") == []
    assert _of_type(_singles(apart_s=4), "narrow") == []


def test_unique_tasks_one_after_the_other_are_no_problem() -> None:
    assert judge(_singles(apart_s=5)) == []


def _with_record(**changes: Any) -> Facts:
    facts = _facts()
    return replace(facts, records={"a": facts.records["a"].model_copy(update=changes)})


RECORD, RESULT = names.record("a"), names.result("chaos", "a")
FOLLOW_UP = FollowUp(task_id="b", task_type="echo", queue="urgent", payload={"number": 5})


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (replace(_facts(), records={}), "accepted and lost"),
        (_singles(apart_s=4.9), "b (single): began in slot 1 before a had ended"),
        (_singles(apart_s=5, payload={"number": 6, "slot": 2}), "it does not have the key of k"),
        (
            replace(_facts(), accepted=(Accepted(replace(_facts().accepted[0].job, delay_s=1), "a"),)),
            "began before its 1 s were over",
        ),
        (_with_record(status=Status.QUEUED), "has not ended: queued"),
        (_with_record(status=Status.CANCELLED), "cancelled without a cancel call"),
        (_with_record(status=Status.FAILED), "ended as failed"),
        (_with_record(status=Status.DEAD), "is dead after 1 of 3 attempts"),
        (_with_record(attempts=_facts().records["a"].attempts * 2), "2 attempts that succeeded"),
        (
            _with_record(
                attempts=(
                    _facts().records["a"].attempts[0].model_copy(update={"outcome": Outcome.RUNNING}),
                    _facts().records["a"].attempts[0].model_copy(update={"number": 2}),
                )
            ),
            "an attempt is said to run",
        ),
        (_with_record(result={"number": 6}), "the record says {'number': 6}"),
        (replace(_facts(), results={}), "is not there"),
        (
            replace(_facts(), writes={**_facts().writes, RESULT: _writes(RESULT, None, None)}),
            "its result was written 2 times",
        ),
        (
            replace(_facts(), writes={**_facts().writes, RECORD: _writes(RECORD, Status.SUCCEEDED, Status.DEAD)}),
            "was given 2 final statuses: succeeded, dead",
        ),
        (
            replace(_facts(), writes={**_facts().writes, RECORD: _writes(RECORD, Status.SUCCEEDED, Status.RUNNING)}),
            "was succeeded, then running",
        ),
        (_cancelled(UNKNOWN, KNOWN, KNOWN), "was given 2 final statuses: cancelled, cancelled"),
        (_cancelled(UNKNOWN, UNKNOWN), "was given 2 final statuses: cancelled, cancelled"),
        (
            _cancelled(UNKNOWN, replace(KNOWN, status=Status.SUCCEEDED)),
            "was given 2 final statuses: cancelled, succeeded",
        ),
        (_with_record(status=Status.CANCELLED, task_type=""), "no worker has noted its type"),
        (_with_record(follow_ups=(FOLLOW_UP,)), "a follow-up task that was lost"),
        (
            replace(_facts(), records={**_facts().records, "c": _record("c", "echo", result=5)}),
            "no call was answered with it",
        ),
        (
            replace(_facts(), dead_letters=frozenset({"dead-letters/urgent/a.json"})),
            "a dead letter of a task that is not dead",
        ),
        (_with_record(status=Status.FAILED), "its dead letter is missing"),
    ],
)
def test_every_broken_promise_is_reported(facts: Facts, words: str) -> None:
    assert any(words in problem for problem in judge(facts)), judge(facts)


def _upload(
    name: str, *, status: int = 200, generation: int = 1, task_status: str = "running", content: bytes = b"{}"
) -> Exchange:
    properties = json.dumps({"name": name, "metadata": {"status": task_status, "task_type": "file"}}).encode()
    body = b"--x\r\ncontent-type: application/json\r\n\r\n" + properties + b"\r\n--x\r\n\r\n" + content + b"\r\n--x--"
    return Exchange(
        method="POST",
        target="/upload/storage/v1/b/b/o?uploadType=multipart",
        sent=body,
        status=status,
        answer=json.dumps({"generation": str(generation)}).encode(),
        delivered=False,
    )


def test_the_journal_knows_which_steps_a_write_recorded() -> None:
    journal = Journal()
    step = Step(name="step-0", attempt=2, started_at=NOW, ended_at=NOW, result="a\r\n--x")
    record = _record("a", "stepped").model_copy(update={"steps": (step,)})
    journal.see(_upload(RECORD, content=record.model_dump_json(exclude_defaults=True).encode()))
    journal.see(_upload(RECORD, generation=2))
    named_so = record.model_copy(update={"steps": (), "payload": {"steps": 3}})
    journal.see(_upload(RECORD, generation=3, content=named_so.model_dump_json(exclude_defaults=True).encode()))
    assert [dict(write.handler_steps) for write in journal.writes("tasks/")[RECORD]] == [{"step-0": 2}, {}, {}]


def test_the_journal_keeps_writes_that_took_effect_in_their_order_whatever_answer_the_client_got() -> None:
    journal = Journal()
    journal.see(_upload(RECORD, generation=2, task_status="succeeded"))
    journal.see(_upload(RECORD, generation=1))
    journal.see(_upload(RECORD, status=412, task_status="dead"))
    journal.see(Exchange(method="GET", target="/o/x", sent=b"", status=200, answer=b"{}", delivered=True))
    writes = journal.writes("tasks/")[RECORD]
    assert [write.status for write in writes] == [Status.RUNNING, Status.SUCCEEDED]
    assert {write.task_type for write in writes} == {"file"}
    assert journal.open_tasks({"a", "z"}) == {"z"}


def _group_facts(*, wait_for: str = "succeeded", second: Status = Status.SUCCEEDED, joins: int = 1) -> Facts:
    """A round with a group of two echoes."""
    made = Group(group_id="g", created_at=NOW, size=2, wait_for=wait_for)  # type: ignore[arg-type]
    maker = _record("a", "crowd", result="g").model_copy(update={"groups": (made,)})
    members = [
        _record(f"m{index}", "echo", result=index).model_copy(update={"group_id": "g", "group_index": index})
        for index in range(2)
    ]
    if second is not Status.SUCCEEDED:
        refused = members[1].attempts[0].model_copy(update={"outcome": Outcome.REJECTED})
        members[1] = members[1].model_copy(update={"status": second, "attempts": (refused,), "result": None})
    wanted = [member.result for member in members]
    found = [
        _record(f"j{index}", "gather", result=wanted).model_copy(update={"group_id": "g"}) for index in range(joins)
    ]
    everything = {record.task_id: record for record in (maker, *members, *found)}
    job = Job(key="k", at_s=0, task_type="crowd", queue="urgent", payload={"number": 5})
    return Facts(
        accepted=(Accepted(job, "a"),),
        records=everything,
        results={},
        dead_letters=frozenset({names.dead_letter("urgent", "m1")} if second is Status.FAILED else ()),
        writes={},
        most_attempts={"crowd": 3, "echo": 3, "gather": 3},
    )


def test_a_group_that_went_well_has_no_problems() -> None:
    assert judge(_group_facts()) == []
    assert judge(_group_facts(second=Status.FAILED, joins=0)) == []
    assert judge(_group_facts(second=Status.FAILED, wait_for="ended")) == []


def _changed(facts: Facts, task_id: str, **fields: Any) -> Facts:
    return replace(facts, records={**facts.records, task_id: facts.records[task_id].model_copy(update=fields)})


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        (_group_facts(joins=0), "has 0 joins, wanted 1"),
        (_group_facts(joins=2), "has 2 joins, wanted 1"),
        (_group_facts(second=Status.FAILED), "has 1 joins, wanted 0"),
        (_changed(_group_facts(), "j0", result=[0]), "its result is [0], the members' are [0, 1]"),
        (_changed(_group_facts(), "m1", updated_at=NOW + timedelta(seconds=1)), "began before the last member"),
        (_changed(_group_facts(), "m1", group_index=7), "of 2 members 2 were run"),
        (_changed(_group_facts(), "a", result="other"), "its group is another"),
    ],
)
def test_a_join_that_is_missing_early_or_wrong_is_a_problem(facts: Facts, problem: str) -> None:
    assert any(problem in line for line in judge(facts)), judge(facts)


def _told(*deliveries: Told) -> Facts:
    facts = _facts()
    job = replace(facts.accepted[0].job, told=True)
    return replace(facts, accepted=(Accepted(job, "a"),), told=deliveries)


@pytest.mark.parametrize(
    ("deliveries", "problem"),
    [
        ((Told("e", "a", "succeeded"),), None),
        ((Told("e", "a", "succeeded"), Told("e", "a", "succeeded")), None),
        ((), "its end was not told"),
        ((Told("e", "a", "succeeded"), Told("f", "a", "succeeded")), "told as 2 events"),
        ((Told("e", "a", "dead"),), "told dead"),
    ],
)
def test_each_end_is_told_as_one_event(deliveries: tuple[Told, ...], problem: str | None) -> None:
    found = judge(_told(*deliveries))
    assert len(found) == (problem is not None)
    assert problem is None or problem in found[0]
