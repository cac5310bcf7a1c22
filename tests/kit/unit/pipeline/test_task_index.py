"""The index of tasks: what listings see, what it costs, and what it survives."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolhouse.pipeline import names
from poolhouse.pipeline.errors import StoreUnavailable
from poolhouse.pipeline.groups.group import FAILURE, JOIN
from poolhouse.pipeline.index import entry as entries
from poolhouse.pipeline.index import segments, task_index
from poolhouse.pipeline.index.database import Database, TaskQuery
from poolhouse.pipeline.index.entry import Entry
from poolhouse.pipeline.index.journal import MOST_PENDING, Journal, journalled
from poolhouse.pipeline.index.task_index import (
    LISTING_SHARE,
    REPAIR_S,
    SILENT_S,
    SNAPSHOT_SEGMENTS,
    STALE_S,
    TAIL_S,
    TaskIndex,
)
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.store import ABSENT
from poolhouse.pipeline.tasks import transitions
from poolhouse.pipeline.tasks.links import Link, Links
from poolhouse.pipeline.tasks.record_store import RecordStore
from poolhouse.pipeline.tasks.records import ErrorInfo, TaskRecord
from poolhouse.pipeline.tasks.task_ids import TaskIds, new_key
from poolhouse.testing.doubles import ManualClock, MemoryStore
from tests.kit.waiting import until

EVERYTHING = TaskQuery()
MINUTE_S = 60.0


class World:
    """A bucket, processes that write to it, and processes that read the index; nothing happens by itself."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.clock = ManualClock()
        self.seconds = 1000.0
        self.made = 0
        self.readers: list[TaskIndex] = []

    def process(self, **options: Any) -> Process:
        return Process(self, **options)

    def index(self, journal: Journal | None = None, *, keep: timedelta | None = None) -> TaskIndex:
        index = TaskIndex(
            self.store,
            journal=journal,
            longest_wait=timedelta(days=7),
            keep=keep,
            clock=self.clock,
            now=self.clock,
            monotonic=lambda: self.seconds,
        )
        self.readers.append(index)
        return index

    def forward(self, seconds: float) -> None:
        self.clock.forward(seconds)
        self.seconds += seconds

    def statuses(self, index: TaskIndex) -> dict[str, str]:
        return {entry.task_id: entry.status for entry in index.page(EVERYTHING, size=1000)}


class Process:
    """Writes records, and a journal of them that is written when the test says so."""

    def __init__(self, world: World, *, unrecorded: frozenset[str] = frozenset()) -> None:
        self._world = world
        self.journal = Journal(world.store, flush_s=3600, unrecorded=unrecorded, now=world.clock)
        self.records = RecordStore(journalled(world.store, self.journal))

    def message(self, task_type: str = "greet", **payload: Any) -> TaskMessage:
        self._world.made += 1
        now = self._world.clock()
        return TaskMessage(
            task_id=f"t-{self._world.made:05}", task_type=task_type, submitted_at=now, queue="default", payload=payload
        )

    def submit(self, task_type: str = "greet", **payload: Any) -> TaskMessage:
        task = self.message(task_type, **payload)
        self.journal.submitted(task.data(), task.attributes())
        return task

    def claim(self, task: TaskMessage, **options: Any) -> TaskRecord:
        claim = transitions.claim(
            None, task, owner="o", worker="w", now=self._world.clock(), lease_s=60, max_attempts=5
        )
        assert isinstance(claim, transitions.Run)
        return self.records.write(claim.record, if_generation=ABSENT).record

    def end(self, record: TaskRecord, *, error: str = "", result: Any = None) -> TaskRecord:
        now = self._world.clock()
        if error:
            info = ErrorInfo(type="KeyError", message=error)
            ended = transitions.died(
                record, reason=f"all 1 attempts used up; the last one: {error}", now=now, error=info
            )
        else:
            ended = transitions.succeeded(record, now=now, result=result)
        generation = self.records.generation(record.task_id)
        return self.records.write(ended, if_generation=generation).record


@pytest.fixture
def world() -> World:
    return World()


def index_writes(world: World) -> list[str]:
    return [name for name in world.store.writes if name.startswith("index/")]


def test_a_task_is_listed_from_its_submit_to_its_end(world: World) -> None:
    api, worker, index = world.process(), world.process(), world.index()
    task = api.submit(name="Ada")
    api.journal.flush()
    assert world.statuses(index) == {task.task_id: "queued"}
    world.forward(5)
    record = worker.claim(task)
    worker.journal.flush()
    assert world.statuses(index) == {task.task_id: "running"}
    world.forward(5)
    worker.end(record, result={"greeting": "Hello"})
    worker.journal.flush()
    [entry] = index.page(EVERYTHING, size=10)
    assert (entry.status, entry.attempts, entry.task_type, entry.queue) == ("succeeded", 1, "greet", "default")
    assert entry.started is not None
    assert entry.ended is not None
    assert (entry.started - entry.submitted, entry.ended - entry.started) == (5_000_000, 5_000_000)


def test_what_this_process_noted_is_listed_before_it_is_written(world: World) -> None:
    api = world.process()
    index = world.index(api.journal)
    task = api.submit()
    assert world.statuses(index) == {task.task_id: "queued"}
    assert [name for name in index_writes(world) if name != segments.SNAPSHOT] == []


def test_hundreds_of_tasks_in_two_seconds_cost_one_write(world: World) -> None:
    worker = world.process()
    for _ in range(MOST_PENDING - 1):
        worker.end(worker.claim(worker.submit()))
    before = len(world.store.writes)
    worker.journal.flush()
    assert len(world.store.writes) - before == 1
    worker.journal.flush()
    assert len(world.store.writes) - before == 1  # nothing has changed
    assert len(world.statuses(world.index())) == MOST_PENDING - 1


def test_a_renewed_lease_is_no_change(world: World) -> None:
    worker = world.process()
    record = worker.claim(worker.submit())
    worker.journal.flush()
    world.forward(10)
    renewed = transitions.renewed(record, now=world.clock(), lease_s=60)
    worker.records.write(renewed, if_generation=worker.records.generation(record.task_id))
    assert worker.journal.pending() == []


def test_a_task_type_without_records_is_not_listed(world: World) -> None:
    api = world.process(unrecorded=frozenset({"ping"}))
    api.submit("ping")
    assert api.journal.pending() == []


def test_a_segment_grows_for_a_minute_and_then_another_begins(world: World) -> None:
    api = world.process()
    for _ in range(3):
        api.submit()
        api.journal.flush()
        world.forward(2)
    assert len(set(index_writes(world))) == 1
    world.forward(MINUTE_S)
    api.submit()
    api.journal.flush()
    assert len(set(index_writes(world))) == 2
    assert len(world.statuses(world.index())) == 4


def test_a_reader_reads_only_the_segments_that_changed(world: World) -> None:
    one, other, index = world.process(), world.process(), world.index()
    for process in (one, other):
        process.submit()
        process.journal.flush()
    assert len(world.statuses(index)) == 2
    world.forward(TAIL_S)
    one.submit()
    one.journal.flush()
    calls = world.store.calls
    assert len(world.statuses(index)) == 3
    assert world.store.calls - calls == 2  # a listing, and the one segment
    assert len(world.statuses(index)) == 3
    assert world.store.calls - calls == 2  # not looked again within a second


def test_where_listing_is_slow_segments_of_known_processes_are_read_by_name(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, index = world.process(), world.index()
    known.submit()
    known.journal.flush()
    listing = world.store.list

    def slowly(*arguments: Any, **options: Any) -> Any:
        world.seconds += 3
        return listing(*arguments, **options)

    monkeypatch.setattr(world.store, "list", slowly)
    assert len(world.statuses(index)) == 1
    lists = world.store.lists
    for _ in range(40):  # into the next minute
        known.submit(text="x")
        known.journal.flush()
        world.forward(TAIL_S)
        assert len(world.statuses(index)) == world.made
    stranger = world.process()
    stranger.submit()
    stranger.journal.flush()
    assert world.store.lists - lists <= 1
    world.forward(3 / LISTING_SHARE)
    assert len(world.statuses(index)) == world.made


def test_a_large_segment_is_followed_by_another_of_the_same_minute(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("poolhouse.pipeline.index.journal.SEGMENT_BYTES", 1000)
    api = world.process()
    for _ in range(9):
        api.submit(text="x" * 300)
        api.journal.flush()
    assert len(set(index_writes(world))) == 3
    assert len(world.statuses(world.index())) == 9


def test_a_message_that_was_published_by_hand_is_no_note(world: World) -> None:
    api = world.process()
    api.journal.submitted(b"anything", {})
    api.journal.submitted(b"{}", {"task_id": "t", "task_type": "greet", "queue": "default", "not_before": "soon"})
    assert api.journal.pending() == []
    api.journal.flush()


def test_while_storage_is_down_notes_are_kept(world: World) -> None:
    api = world.process()
    first = api.submit()
    world.store.failure = StoreUnavailable("it is down")
    api.journal.flush()
    world.forward(2 * MINUTE_S)
    second = api.submit()
    api.journal.flush()
    world.store.failure = None
    api.journal.flush()
    assert world.statuses(world.index()) == {first.task_id: "queued", second.task_id: "queued"}


def test_the_thread_writes_by_itself_and_at_the_end(world: World) -> None:
    journal = Journal(world.store, flush_s=0.01)
    task = Process(world).message()
    journal.submitted(task.data(), task.attributes())
    until(lambda: index_writes(world))
    late = Process(world).message()
    journal.submitted(late.data(), late.attributes())
    journal.close()
    assert set(world.statuses(world.index())) == {task.task_id, late.task_id}


def test_what_a_killed_worker_took_with_it_is_found_by_itself(world: World) -> None:
    api, killed = world.process(), world.process()
    index = world.index()
    task = api.submit()
    api.journal.flush()
    assert world.statuses(index) == {task.task_id: "queued"}
    killed.end(killed.claim(task))  # and never writes its journal
    assert world.statuses(index) == {task.task_id: "queued"}
    world.forward(SILENT_S + REPAIR_S + 1)
    assert world.statuses(index) == {task.task_id: "succeeded"}


def test_a_rebuild_finds_what_is_missing_and_removes_what_is_gone(world: World) -> None:
    killed, index = world.process(), world.index()
    kept = killed.end(killed.claim(killed.submit()))
    gone = killed.end(killed.claim(killed.submit()))
    killed.journal.flush()
    lost = world.process()
    unknown = lost.end(lost.claim(lost.message()))
    assert set(world.statuses(index)) >= {kept.task_id, gone.task_id}
    for name in world.store.names(f"tasks/{gone.task_id}"):
        world.store.delete(name)
    world.forward(SILENT_S + 1)
    done = index.rebuild()
    assert (done.records, done.removed) == (2, 1)
    assert world.statuses(index) == {kept.task_id: "succeeded", unknown.task_id: "succeeded"}


def test_a_rebuild_goes_through_all_records_in_one_listing_that_may_last(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, index = world.process(), world.index()
    for _ in range(5):
        worker.end(worker.claim(worker.submit()))
    worker.journal.flush()
    world.statuses(index)
    monkeypatch.setattr(task_index, "COMPARED", 2)
    listed: list[float | None] = []
    listing = world.store.list

    def listen(prefix: str, *, timeout_s: float | None = None, **options: Any) -> Any:
        if prefix == names.TASKS:
            listed.append(timeout_s)
        return listing(prefix, timeout_s=timeout_s, **options)

    monkeypatch.setattr(world.store, "list", listen)
    assert (index.rebuild().records, index.rebuild().corrected) == (5, 0)
    assert listed == [task_index.LIST_S] * 2


@pytest.mark.parametrize("how", ["rebuild", "look-up"])
def test_a_note_that_is_newer_than_the_record_it_contradicts_is_corrected(world: World, how: str) -> None:
    worker, index = world.process(), world.index()
    task = worker.message()
    worker.end(worker.claim(task))
    assert world.statuses(index) == {task.task_id: "succeeded"}
    world.forward(10)
    worker.journal.note(transitions.waiting(task, limit="the turn", now=world.clock()))  # of a duplicate
    worker.journal.flush()
    assert world.statuses(index) == {task.task_id: "queued"}
    if how == "rebuild":
        assert index.rebuild().corrected == 1
    else:
        world.forward(SILENT_S + REPAIR_S + 1)
    assert world.statuses(index) == {task.task_id: "succeeded"}


def test_ended_tasks_leave_the_index_with_their_records(world: World) -> None:
    worker, index = world.process(), world.index(keep=timedelta(days=30))
    ended = worker.end(worker.claim(worker.message()))
    waiting = worker.message()
    worker.records.write(transitions.fresh(waiting, now=world.clock()), if_generation=ABSENT)
    worker.journal.flush()
    index.rebuild()  # which writes a snapshot
    assert set(world.statuses(index)) == {ended.task_id, waiting.task_id}
    for name in world.store.names(f"tasks/{ended.task_id}"):
        world.store.delete(name)
    for name in world.store.names("index/"):
        if segments.is_segment(name):
            world.store.delete(name)
    world.forward(30 * 86_400 + 1)
    assert set(world.statuses(world.index(keep=timedelta(days=30)))) == {waiting.task_id}  # read from the snapshot
    assert set(world.statuses(world.index())) == {ended.task_id, waiting.task_id}  # where records are kept for ever
    index._save(index.current())
    assert set(world.statuses(world.index())) == {waiting.task_id}  # nor is it in the next snapshot


def test_a_bucket_older_than_its_index_is_indexed_at_the_first_look(world: World) -> None:
    plain = RecordStore(world.store)
    worker = world.process()
    record = transitions.fresh(worker.message(name="Ada"), now=world.clock())
    plain.write(record, if_generation=ABSENT)
    index = world.index()
    assert world.statuses(index) == {record.task_id: "queued"}
    assert sum(index.counts(TaskQuery(text="ada")).values()) == 1


def test_another_process_begins_with_the_snapshot_and_old_segments_go(world: World) -> None:
    worker, index = world.process(), world.index()
    for _ in range(SNAPSHOT_SEGMENTS + 1):
        worker.submit()
        worker.journal.flush()
        world.forward(MINUTE_S)
    assert len(world.statuses(index)) == SNAPSHOT_SEGMENTS + 1
    left = [name for name in world.store.names("index/") if segments.is_segment(name)]
    assert 0 < len(left) <= 2 * STALE_S / MINUTE_S + 1
    assert len(world.statuses(world.index())) == SNAPSHOT_SEGMENTS + 1


def test_a_reader_that_slept_for_long_misses_nothing(world: World) -> None:
    worker, sleeper, other = world.process(), world.index(), world.index()
    worker.submit()
    worker.journal.flush()
    assert len(world.statuses(sleeper)) == 1
    for _ in range(SNAPSHOT_SEGMENTS + 200):
        worker.submit()
        worker.journal.flush()
        world.forward(MINUTE_S)
        world.statuses(other)
    assert len(world.statuses(sleeper)) == len(world.statuses(other)) == SNAPSHOT_SEGMENTS + 201


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (TaskQuery(), "abc"),
        (TaskQuery(statuses=frozenset({"succeeded"})), "a"),
        (TaskQuery(statuses=frozenset({"dead", "queued"})), "bc"),
        (TaskQuery(task_type="report"), "b"),
        (TaskQuery(queue="bulk"), ""),
        (TaskQuery(id_prefix="t-00001"), "a"),
        (TaskQuery(id_prefix="t-0000"), "abc"),
        (TaskQuery(id_prefix="T-0000"), ""),
        (TaskQuery(text="ADA"), "a"),
        (TaskQuery(text="straße"), "b"),
        (TaskQuery(text="STRASSE"), "b"),
        (TaskQuery(text="hello"), "a"),
        (TaskQuery(text="%"), ""),
        (TaskQuery(text="greet", statuses=frozenset({"succeeded"})), "a"),
        (TaskQuery(submitted_after=datetime(2026, 3, 1, 12, 0, 10, tzinfo=UTC)), "bc"),
        (TaskQuery(submitted_before=datetime(2026, 3, 1, 12, 0, 10, tzinfo=UTC)), "a"),
        (TaskQuery(changed_after=datetime(2026, 3, 1, 12, 0, 10, tzinfo=UTC)), "bc"),
    ],
)
def test_filters(world: World, query: TaskQuery, found: str) -> None:
    worker, index = world.process(), world.index()
    a = worker.claim(worker.submit(name="Ada"))
    worker.end(a, result={"greeting": "Hello"})
    world.forward(10)
    b = worker.claim(worker.submit("report"))
    world.forward(1)
    worker.end(b, error="Straße fehlt")
    c = worker.submit("other")
    worker.journal.flush()
    names = {a.task_id: "a", b.task_id: "b", c.task_id: "c"}
    assert "".join(sorted(names[entry.task_id] for entry in index.page(query, size=10))) == found
    assert sum(index.counts(query).values()) == len(found)


def test_children_are_found_by_their_parent_from_their_submit_on(world: World) -> None:
    api, worker, index = world.process(), world.process(), world.index()
    parent = api.submit()
    links = Links(parent_id=parent.task_id, then=(Link(task_type="t", queue="q"),))
    children = [replace(api.message(n=n, note='"_poolhouse":{"parent_id":"x"}'), links=links) for n in range(3)]
    decoy = api.message(nested={"_poolhouse": {"parent_id": parent.task_id}})
    for task in (*children, decoy):
        api.journal.submitted(task.data(), task.attributes())
    api.journal.flush()
    query = TaskQuery(parent=parent.task_id)
    assert {entry.task_id for entry in index.page(query, size=9)} == {child.task_id for child in children}
    worker.end(worker.claim(children[0]), result=1)
    worker.journal.flush()
    world.forward(TAIL_S)
    assert index.counts(query) == {"queued": 2, "succeeded": 1}


@pytest.mark.parametrize("by", ["trigger", "schedule"])
def test_tasks_are_found_by_what_submitted_them_from_their_submit_on(world: World, by: str) -> None:
    scheduler, worker, index = world.process(), world.process(), world.index()
    meant, other = Links(**{by: "nightly"}), Links(**{by: "weekly"})
    tasks = [replace(scheduler.message(), links=links) for links in (meant, meant, other, None)]
    for task in tasks:
        scheduler.journal.submitted(task.data(), task.attributes())
    scheduler.journal.flush()
    query = TaskQuery(**{by: "nightly"})
    assert {entry.task_id for entry in index.page(query, size=9)} == {task.task_id for task in tasks[:2]}
    worker.end(worker.claim(tasks[0]))
    worker.journal.flush()
    world.forward(TAIL_S)
    assert index.counts(query) == {"queued": 1, "succeeded": 1}
    index.rebuild()  # which writes a snapshot
    assert world.index().counts(query) == {"queued": 1, "succeeded": 1}


def test_the_line_of_a_plain_task_has_nothing_of_what_it_is_not_linked_with(world: World) -> None:
    plain = entries.of_message(*described(world.process().message()))
    assert entries.to_line(plain).endswith(b",0]\n")
    assert list(entries.from_lines(entries.to_line(plain))) == [plain]
    linked = plain._replace(schedule="nightly")
    assert list(entries.from_lines(entries.to_line(linked))) == [linked]


def test_a_line_of_another_version_is_read_as_far_as_it_is_known() -> None:
    entry = made("x", updated=1)
    earlier, later = json.dumps(entry[:14]).encode(), json.dumps([*entry, "new"]).encode()
    assert list(entries.from_lines(earlier + b"\n" + later)) == [entry, entry]
    assert list(entries.from_lines(b'{"a":1}\n7\n"x"\n[]\n[')) == []


def test_the_members_of_a_group_are_counted_without_what_follows_them(world: World) -> None:
    ids = TaskIds(new_key())
    group = ids.new_group(world.clock())
    database = Database()
    database.apply(made(ids.in_group(group, place), updated=1) for place in (0, 1, 99_999, JOIN, FAILURE))
    database.apply([made(ids.new(world.clock()), updated=1)])
    assert database.counts(TaskQuery(group=group)) == {"running": 3}
    assert len(database.page(TaskQuery(group=group), size=9, after=None)) == 3
    database.close()


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["scheduled", "queued"])), max_size=12), st.integers(1, 4))
def test_delayed_tasks_are_listed_by_their_time_page_after_page(found: list[tuple[int, str]], size: int) -> None:
    database = Database()
    tasks = [made(f"t{n:02}", updated=1, status=status)._replace(due=due) for n, (due, status) in enumerate(found)]
    database.apply(tasks)
    seen: list[Entry] = []
    while page := database.page(
        EVERYTHING, size=size, after=None if not seen else (seen[-1].due or 0, seen[-1].task_id), by_due=True
    ):
        seen += page
    wanted = [task for task in tasks if task.status == "scheduled"]
    assert [entry.task_id for entry in seen] == [
        task.task_id for task in sorted(wanted, key=lambda task: (task.due, task.task_id))
    ]
    database.close()


def test_children_members_and_delayed_tasks_are_found_without_a_look_at_the_others() -> None:
    database = Database()
    questions = {
        "children": TaskQuery(parent="p").where(),
        "sqlite_autoindex_tasks_1": TaskQuery(group="0" * 30).where(),
        "delayed": ("status = 'scheduled' AND due IS NOT NULL ORDER BY due, task_id LIMIT 9", []),
    }
    for index, (condition, values) in questions.items():
        plan = database.rows(f"EXPLAIN QUERY PLAN SELECT status, count(*) OVER () FROM tasks WHERE {condition}", values)
        assert index in plan[-1][-1] or any(index in step[-1] for step in plan), plan
    database.close()


def made(task_id: str, *, updated: int, status: str = "running", recorded: int = 1) -> Entry:
    return Entry(task_id, "t", "q", status, 0, updated, None, None, None, None, 1, "", "", recorded)


@given(st.permutations([made("x", updated=at, status=str(at)) for at in range(1, 6)]), st.integers(0, 5))
def test_entries_in_any_order_and_any_number_of_times_come_to_the_same(found: list[Entry], again: int) -> None:
    database = Database()
    database.apply([*found, *found[:again], made("x", updated=0, status="queued", recorded=0)])
    [entry] = database.page(EVERYTHING, size=10, after=None)
    assert (entry.status, entry.recorded) == ("5", 1)
    database.close()


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50)), unique_by=lambda pair: pair[1]), st.integers(1, 7))
def test_pages_have_every_task_once_newest_first(tasks: list[tuple[int, int]], size: int) -> None:
    database = Database()
    database.apply(made(f"t-{number:02}", updated=1)._replace(submitted=at) for at, number in tasks)
    found: list[tuple[int, str]] = []
    while page := database.page(EVERYTHING, size=size, after=found[-1] if found else None):
        found += [(entry.submitted, entry.task_id) for entry in page]
    database.close()
    assert found == sorted(((at, f"t-{number:02}") for at, number in tasks), key=lambda pair: (-pair[0], pair[1]))


@pytest.mark.parametrize(
    "value",
    [{"a": [1, None, "ü"]}, {"deep": {"er": ["x" * 5000]}}, {str(number): number for number in range(999)}, {}],
)
def test_an_excerpt_is_the_beginning_of_the_json(value: dict[str, Any]) -> None:
    assert entries.excerpt(value) == json.dumps(value, ensure_ascii=False)[: entries.EXCERPT]


def test_a_line_comes_back_as_it_was_and_a_foreign_one_is_left_out() -> None:
    entry = made("x", updated=3)._replace(text='ü "\n', due=7)
    assert list(entries.from_lines(b"no json\n[1]\n" + entries.to_line(entry))) == [entry]


def described(task: TaskMessage) -> tuple[bytes, dict[str, str], datetime]:
    return task.data(), task.attributes(), task.submitted_at
