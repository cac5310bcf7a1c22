"""Tasks that wait for a time: kept, fired once due, whatever comes in between."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from poolhouse.pipeline import names
from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.errors import QueueUnavailable, StoreUnavailable
from poolhouse.pipeline.messaging.message import NOT_BEFORE, TaskMessage, format_time
from poolhouse.pipeline.messaging.publisher import Publisher
from poolhouse.pipeline.store import ObjectInfo
from poolhouse.pipeline.timing.delays import LONGEST_WAIT_S, SHORT_WAIT_S, check_delay_s, run_time, seconds_until
from poolhouse.pipeline.timing.timers import Timers
from poolhouse.testing.doubles import ManualClock, MemoryStore, MemoryTopics


class World:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore()
        self.topics = MemoryTopics()
        self.publisher = Publisher(
            Settings(
                google_cloud_project="p-12345",
                bucket_name="bucket",
                pipeline_file=str(Path(__file__).parents[4] / "pipeline.toml"),
            ),
            topics=self.topics,
        )
        self.timers = Timers(self.store)

    def task(self, task_id: str, *, in_s: float) -> TaskMessage:
        return TaskMessage(
            task_id=task_id,
            task_type="echo",
            submitted_at=self.clock.now,
            queue="default",
            payload={"n": 1},
            not_before=self.clock.now + timedelta(seconds=in_s),
        )

    def send(self, task_id: str, *, in_s: float) -> TaskMessage:
        task = self.task(task_id, in_s=in_s)
        self.timers.send(task, self.publisher, now=self.clock.now).result()
        return task

    def fire(self) -> int:
        return self.timers.fire(self.publisher, until=self.clock.now)

    @property
    def sent(self) -> list[str]:
        return [published.message.attributes["task_id"] for published in self.topics.published]


@pytest.fixture
def world() -> World:
    return World()


def test_a_short_wait_is_a_message_with_its_time_and_costs_no_write(world: World) -> None:
    task = world.send("t-1", in_s=SHORT_WAIT_S)
    assert task.not_before is not None
    assert world.topics.published[0].message.attributes[NOT_BEFORE] == format_time(task.not_before)
    assert world.store.writes == []


def test_a_long_wait_is_one_write_and_is_published_as_it_was_once_it_is_due(world: World) -> None:
    task = world.task("t-1", in_s=7 * 86_400)
    assert world.timers.send(task, world.publisher, now=world.clock.now).result() == ""
    assert (world.sent, len(world.store.writes)) == ([], 1)
    world.clock.forward(7 * 86_400 - 1)
    assert world.fire() == 0
    world.clock.forward(1)
    assert world.fire() == 1
    (published,) = world.topics.published
    assert (published.message.data, dict(published.message.attributes)) == (task.data(), task.attributes())
    assert (world.fire(), world.store.names(names.TIMERS)) == (0, ())


def test_what_is_due_first_goes_first_and_a_million_that_wait_cost_one_short_list(world: World) -> None:
    for number in range(3000):
        world.timers.put("default", b"{}", {}, task_id=f"t-{number}", not_before=world.clock.now + timedelta(days=1))
    world.send("late", in_s=700)
    world.send("early", in_s=600)
    world.clock.forward(700)
    before = world.store.lists
    assert world.fire() == 2
    assert set(world.sent) == {"early", "late"}
    assert world.store.lists == before + 1


def test_more_timers_than_one_list_shows_are_fired_by_one_call_and_those_beyond_stay(world: World) -> None:
    for number in range(1001):
        due_at = world.clock.now + timedelta(seconds=600, milliseconds=number)
        world.timers.put("default", b"{}", {}, task_id=f"t-{number:04}", not_before=due_at)
    world.send("later", in_s=700)
    world.clock.forward(601)
    before = world.store.lists
    assert world.fire() == 1001
    assert (set(world.sent), world.store.lists - before) == ({f"t-{number:04}" for number in range(1001)}, 3)
    assert len(world.store.names(names.TIMERS)) == 1


def test_a_timer_that_another_worker_fires_first_does_not_count(world: World) -> None:
    world.send("t-1", in_s=600)
    world.send("t-2", in_s=601)
    world.clock.forward(700)
    get = world.store.get

    def fired_meanwhile(name: str) -> tuple[bytes, ObjectInfo]:
        if "t-1" in name:
            world.store.delete(name)
        return get(name)

    world.store.get = fired_meanwhile  # type: ignore[method-assign]
    assert (world.fire(), world.sent) == (1, ["t-2"])


def test_the_same_wait_twice_is_one_timer(world: World) -> None:
    task = world.send("t-1", in_s=1000)
    assert task.not_before is not None
    world.send("t-1", in_s=1000)
    world.timers.put("default", b"other", {}, task_id="t-1", not_before=task.not_before)
    assert len(world.store.writes) == 1
    world.clock.forward(1000)
    assert world.fire() == 1
    assert world.topics.published[0].message.data == task.data()


def test_what_the_queue_does_not_take_is_fired_later(world: World) -> None:
    world.send("t-1", in_s=1000)
    world.clock.forward(1000)
    world.topics.down = True
    with pytest.raises(QueueUnavailable):
        world.fire()
    world.topics.down = False
    assert (world.fire(), world.sent) == (1, ["t-1"])


def test_a_crash_between_publish_and_delete_fires_the_same_task_again_never_none(world: World) -> None:
    world.send("t-1", in_s=1000)
    world.clock.forward(1000)
    delete, world.store.delete = world.store.delete, _broken  # type: ignore[method-assign, assignment]
    with pytest.raises(StoreUnavailable):
        world.fire()
    world.store.delete = delete  # type: ignore[method-assign]
    world.fire()
    assert world.sent == ["t-1", "t-1"]


def _broken(name: str, **_: object) -> None:
    raise StoreUnavailable("storage is down")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("timers/19990101/000000000-broken.json", b"{"),
        (
            "timers/19990101/000000000-broken.json",
            b'{"queue":"gone","not_before":"1999-01-01T00:00:00Z","data_base64":"e30=","attributes":{}}',
        ),
        (
            "timers/19990101/000000000-broken.json",
            b'{"queue":"default","not_before":"1999-01-01T00:00:00Z","data_base64":"e3!0=","attributes":{}}',
        ),
        ("timers/no-time", b"{}"),
    ],
)
def test_an_object_that_is_no_timer_keeps_no_other_from_its_time(world: World, name: str, data: bytes) -> None:
    world.store.put(name, data)
    world.send("t-1", in_s=1000)
    world.clock.forward(1000)
    with capture_logs() as logs:
        assert world.fire() == 1
        calls = world.store.calls
        assert world.fire() == 0
    assert world.store.names(names.TIMERS) == (name,)
    assert [line["timer"] for line in logs] == [name]  # it is reported once, and not read again
    assert world.store.calls == calls + 1


def test_a_page_of_objects_that_are_no_timers_keeps_no_other_from_its_time(world: World) -> None:
    for number in range(501):
        world.store.put(f"{names.TIMERS}0/no-time-{number}", b"{}")
    world.send("t-1", in_s=1000)
    world.clock.forward(1000)
    assert (world.fire(), world.sent) == (1, ["t-1"])


def test_names_of_timers_are_in_the_order_of_their_times_and_contain_them() -> None:
    times = [datetime(2026, 1, 31, 23, 59, 59, 999_000, tzinfo=UTC) + timedelta(milliseconds=step) for step in range(3)]
    made = [names.timer(at, "t-1") for at in times]
    assert made == sorted(made)
    assert [names.timer_due_at(name) for name in made] == times
    east = times[0].astimezone(timezone(timedelta(hours=14)))
    assert names.timer(east, "t-1") == made[0]


@pytest.mark.parametrize("delay_s", [-1, math.nan, math.inf, LONGEST_WAIT_S + 1, 10**400, True, "5", None, [1]])
def test_a_delay_is_a_number_of_seconds_within_ten_years(delay_s: object) -> None:
    with pytest.raises(ValueError, match="must be"):
        check_delay_s(delay_s)


def test_a_delay_may_be_none_at_all_and_ten_years_to_the_second() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert [check_delay_s(delay_s) for delay_s in (0, 0.5, LONGEST_WAIT_S)] == [0, 0.5, LONGEST_WAIT_S]
    with pytest.raises(ValueError, match="delay_s must be between"):
        run_time(delay_s=-1, now=now)
    assert [seconds_until(now + timedelta(seconds=wait_s), now=now) for wait_s in (-5, 0, 0.5)] == [0, 0, 0.5]
    furthest = now + timedelta(seconds=LONGEST_WAIT_S)
    assert run_time(run_at=furthest, now=now) == run_time(delay_s=LONGEST_WAIT_S, now=now) == furthest


def test_the_time_of_a_task_is_given_once_with_a_zone_and_not_too_far() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert run_time(now=now) == now
    assert run_time(delay_s=90, now=now) == now + timedelta(seconds=90)
    assert run_time(run_at=now - timedelta(days=1), now=now) == now
    for wrong in (
        {"delay_s": 1, "run_at": now},
        {"run_at": datetime(2026, 1, 1)},
        {"run_at": now + timedelta(days=4000)},
    ):
        with pytest.raises(ValueError, match=r"run_at|both"):
            run_time(now=now, **wrong)  # type: ignore[arg-type]
