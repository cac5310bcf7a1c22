"""Groups that handlers make: the join runs once, after all members, whatever happens to workers and calls."""

from __future__ import annotations

import pytest
import requests

from poolhouse.pipeline import names
from poolhouse.pipeline.groups import members as group_members
from poolhouse.pipeline.groups.group import FAILURE, JOIN
from poolhouse.pipeline.tasks.record_store import RecordStore
from poolhouse.pipeline.tasks.records import Status, TaskRecord
from poolhouse.testing.pipeline import Pipeline
from poolhouse.testing.tasks import Task
from poolhouse.worker.task_function import TaskFunction
from tests.kit.unit.groups import handlers
from tests.kit.unit.groups.handlers import Count, Label, broken, during, ran


def record_at(pipeline: Pipeline, group: Task[str], place: int) -> TaskRecord | None:
    """The record of the task at a place of the group that a task has made."""
    stored = RecordStore(pipeline.store).read(pipeline.task_ids.in_group(group.result(), place))
    return None if stored is None else stored.record


def join_of(pipeline: Pipeline, group: Task[str]) -> TaskRecord | None:
    return record_at(pipeline, group, JOIN)


def joined(pipeline: Pipeline, group: Task[str]) -> object:
    join = join_of(pipeline, group)
    assert join is not None
    assert join.status is Status.SUCCEEDED, join
    return join.result


def group_id_of(pipeline: Pipeline, group: Task[str]) -> str:
    """The id of the group that a task makes, before it has succeeded."""
    return pipeline.task_ids.derive_group(f"group {group.task_id} 0", group.record.submitted_at)


def api(pipeline: Pipeline, method: str, path: str, **fields: object) -> tuple[int, dict[str, object]]:
    answer = requests.request(method, f"{pipeline.api_url}{path}", timeout=10, **fields)  # type: ignore[arg-type]
    return answer.status_code, answer.json() if answer.content else {}


@pytest.mark.parametrize("count", [1, 16, 17, 40])
def test_the_join_runs_once_with_the_results_in_order(pipeline: Pipeline, count: int) -> None:
    group = pipeline.submit(handlers.squares, Count(count=count))
    pipeline.run_until_idle()
    assert joined(pipeline, group) == {"total": sum(n**2 for n in range(count)), "missing": []}
    assert (ran.count("total of all"), len(ran)) == (1, count + 1)


def test_a_group_without_members_joins_at_once(pipeline: Pipeline) -> None:
    group = pipeline.submit(handlers.squares, Count(count=0))
    pipeline.run_until_idle()
    assert joined(pipeline, group) == {"total": 0, "missing": []}


def test_members_and_join_know_their_group_and_their_parent(pipeline: Pipeline) -> None:
    group = pipeline.submit(handlers.squares, Count(count=2))
    pipeline.run_until_idle()
    member, join = record_at(pipeline, group, 1), join_of(pipeline, group)
    assert member is not None
    assert join is not None
    assert (member.parent_id, member.group_id, member.group_index) == (group.task_id, group.result(), 1)
    assert (join.parent_id, join.group_id, join.group_index) == (group.task_id, group.result(), None)


def test_no_point_of_failure_changes_what_a_group_comes_to(pipeline: Pipeline) -> None:
    for turn in pipeline.crash_points(results=False):
        with turn:
            ran.clear()
            group = pipeline.submit(handlers.squares, Count(count=3))
            pipeline.run_until_idle()
            assert joined(pipeline, group) == {"total": 5, "missing": []}


def test_duplicates_of_every_message_change_nothing(pipeline: Pipeline) -> None:
    pipeline.faults.duplicate("default", times=60)
    group = pipeline.submit(handlers.squares, Count(count=20))
    pipeline.run_until_idle()
    assert joined(pipeline, group) == {"total": sum(n**2 for n in range(20)), "missing": []}
    assert (ran.count("total of all"), len(ran)) == (1, 21)


def test_members_are_published_on_after_a_crash_in_the_middle(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_members, "CHUNK_MEMBERS", 4)
    group = pipeline.submit(handlers.squares, Count(count=10))
    with pipeline.kill_worker(at="after-follow-ups"):
        pipeline.run_until_idle()
    assert joined(pipeline, group) == {"total": 285, "missing": []}
    assert len(ran) == 11
    left = [info.name for info in pipeline.store.list(f"{names.GROUPS}{group.result()}/members/").objects]
    assert left == []


def test_the_tasks_of_a_group_are_follow_ups_of_the_task_that_made_it(pipeline: Pipeline) -> None:
    pipeline.submit(handlers.squares, Count(count=2))  # another group, whose tasks are not among them
    group = pipeline.submit(handlers.squares, Count(count=3))
    pipeline.run_until_idle()
    *members, join = pipeline.follow_ups(group)
    assert [(each.task_type, each.result()) for each in members] == [("square", 0), ("square", 1), ("square", 4)]
    assert (join.task_type, join.task_id) == ("total", pipeline.task_ids.in_group(group.result(), JOIN))


def test_a_dead_member_makes_the_join_wait_for_its_replay(pipeline: Pipeline) -> None:
    broken.add(2)
    group = pipeline.submit(handlers.squares, Count(count=4))
    pipeline.run_until_idle()
    assert join_of(pipeline, group) is None
    state = api(pipeline, "GET", f"/groups/{group.result()}")[1]
    assert (state["status"], state["settled"]) == ("waiting", 3)
    broken.clear()
    letter = pipeline.assert_dead_lettered(reason="2 is broken")
    assert api(pipeline, "POST", f"/dead-letters/{letter.task_id}:replay")[0] == 200
    pipeline.run_until_idle()
    assert joined(pipeline, group) == {"total": 14, "missing": []}
    assert ran.count("total of all") == 1
    state = api(pipeline, "GET", f"/groups/{group.result()}")[1]
    assert (state["status"], state["settled"]) == ("ended", 4)


def test_a_member_replayed_with_another_payload_is_still_a_member(pipeline: Pipeline) -> None:
    broken.add(2)
    group = pipeline.submit(handlers.squares, Count(count=4))
    pipeline.run_until_idle()
    letter = pipeline.assert_dead_lettered(reason="2 is broken")
    api(pipeline, "POST", f"/dead-letters/{letter.task_id}:replay", json={"payload": {"number": 5}})
    pipeline.run_until_idle()
    assert joined(pipeline, group) == {"total": 35, "missing": []}


def test_a_discarded_member_is_waited_for_no_longer(pipeline: Pipeline) -> None:
    broken.add(2)
    group = pipeline.submit(handlers.squares, Count(count=4))
    pipeline.run_until_idle()
    letter = pipeline.assert_dead_lettered(reason="2 is broken")
    assert api(pipeline, "POST", f"/dead-letters/{letter.task_id}:discard")[0] == 204
    pipeline.run_until_idle()
    assert joined(pipeline, group) == {"total": 10, "missing": [2]}


def test_the_join_runs_anyway_where_it_waits_for_the_end_only(pipeline: Pipeline) -> None:
    broken.update({0, 3})
    group = pipeline.submit(handlers.squares, Count(count=4, wait_for="ended"))
    pipeline.run_until_idle()
    assert joined(pipeline, group) == {"total": 5, "missing": [0, 3]}


def test_the_failure_task_runs_once_and_is_handed_the_first_failure(pipeline: Pipeline) -> None:
    broken.update({1, 3})
    group = pipeline.submit(handlers.squares, Count(count=4, alarmed=True))
    pipeline.run_until_idle()
    failure = record_at(pipeline, group, FAILURE)
    assert failure is not None
    assert (failure.status, failure.result) == (Status.SUCCEEDED, "1 is broken")
    assert ran.count("alarm group") == 1
    assert join_of(pipeline, group) is None


def test_a_member_cancelled_before_a_worker_saw_it_is_waited_for_no_longer(pipeline: Pipeline) -> None:
    group = pipeline.submit(handlers.squares, Count(count=3))

    def cancel_the_last() -> None:
        api(pipeline, "POST", f"/tasks/{pipeline.task_ids.in_group(group_id_of(pipeline, group), 2)}:cancel")

    during[0] = cancel_the_last
    pipeline.run_until_idle()
    assert joined(pipeline, group) == {"total": 1, "missing": [2]}
    cancelled = record_at(pipeline, group, 2)
    assert cancelled is not None
    assert (cancelled.task_type, cancelled.group_index) == ("square", 2)


def test_of_a_cancelled_group_nothing_more_starts(pipeline: Pipeline) -> None:
    group = pipeline.submit(handlers.squares, Count(count=4))
    answers = []

    def cancel_all() -> None:
        answers.append(api(pipeline, "POST", f"/groups/{group_id_of(pipeline, group)}:cancel"))
        pipeline.clock.advance("3 s")  # what the worker knows of the group is two seconds old at the most

    during[1] = cancel_all
    pipeline.run_until_idle()
    assert answers == [(200, {"group_id": group.result(), "status": "cancelled", "notified": 1})]
    assert ran == ["square 0", "square 1"]
    join = join_of(pipeline, group)
    assert join is not None
    assert (join.status, join.attempts) == (Status.CANCELLED, ())
    state = api(pipeline, "GET", f"/groups/{group.result()}")[1]
    assert state["status"] == "cancelled"
    assert state["counts"] == {**dict.fromkeys(Status, 0), "succeeded": 1, "cancelled": 3}


def test_a_group_whose_join_has_run_can_not_be_cancelled(pipeline: Pipeline) -> None:
    group = pipeline.submit(handlers.squares, Count(count=1))
    pipeline.run_until_idle()
    assert api(pipeline, "POST", f"/groups/{group.result()}:cancel")[0] == 409


def test_a_group_inside_of_a_group_has_a_join_of_its_own(pipeline: Pipeline) -> None:
    group = pipeline.submit(handlers.outer, Label())
    pipeline.run_until_idle()
    assert joined(pipeline, group) == 1
    assert sorted(ran) == ["done outer", "nested", "square 3", "total inner"]


def test_a_handler_in_a_process_of_its_own_makes_and_joins_groups(pipeline: Pipeline) -> None:
    group = pipeline.submit(handlers.squares_in_a_process, Count(count=3))
    pipeline.run_until_idle()
    assert joined(pipeline, group) == [0, 1, 4]


@pytest.mark.parametrize(
    ("label", "problem"),
    [
        ("unique", "members.0.task_type: once is unique"),
        ("unrecorded", "members.0.task_type: unrecorded keeps no record"),
        ("chain", "members.0.then: a member of a group has no such field"),
        ("payload", "members.0.payload.number: Input should be a valid integer"),
        ("join", "then.into: the join of a group has no such field"),
        ("into", "on_failure.into: the payload of alarm has no field 'fault'"),
        ("type", "members.0 must be a task such as render.ref"),
        ("wait_for", "wait_for must be one of succeeded, ended"),
    ],
)
def test_a_group_that_can_not_be_is_refused_where_it_is_made(pipeline: Pipeline, label: str, problem: str) -> None:
    task = pipeline.submit(handlers.wrong_group, Label(label=label))
    pipeline.run_until_idle()
    assert task.status is Status.DEAD
    assert problem in (task.record.reason or "")
    assert ran == []


@pytest.mark.parametrize("handler", [handlers.unrecorded_group, handlers.unrecorded_group_in_a_process])
def test_a_task_without_a_record_makes_no_group(pipeline: Pipeline, handler: TaskFunction[Label, str]) -> None:
    pipeline.submit(handler, Label())
    pipeline.run_until_idle()
    letter = pipeline.assert_dead_lettered()
    assert "keeps no record (record=False), and a group" in letter.reason
    assert (ran, pipeline.store.list(names.GROUPS).objects) == ([], ())


@pytest.mark.parametrize("count", [0, 2])
def test_a_purge_while_a_group_is_made_does_not_mean_its_tasks(pipeline: Pipeline, count: int) -> None:
    group = pipeline.submit(handlers.squares, Count(count=count))

    def purge() -> None:
        assert api(pipeline, "POST", "/queues/default:purge")[0] == 200
        pipeline.clock.advance("3 s")  # by now the worker knows

    during[-1] = purge
    pipeline.run_until_idle()
    assert joined(pipeline, group) == {"total": sum(n**2 for n in range(count)), "missing": []}


def test_a_group_has_so_many_members_at_the_most(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_members, "MAX_MEMBERS", 5)
    task = pipeline.submit(handlers.squares, Count(count=6))
    pipeline.run_until_idle()
    assert "a group has 5 members at the most" in (task.record.reason or "")
