"""The parts of a subscription by themselves: what a response may carry, leases, and the two lanes of messages."""

from __future__ import annotations

import pytest

from poolhouse_pubsub.core import ordering
from poolhouse_pubsub.core.backlog import Backlog
from poolhouse_pubsub.core.leases import Consumer, Entry, Leases, Mode, State
from poolhouse_pubsub.core.message import Message
from poolhouse_pubsub.core.ordering import OrderedLane
from poolhouse_pubsub.core.timers import NEVER
from poolhouse_pubsub.core.unordered import Budget, UnorderedLane

SIZE = 10


def message(id: int, key: str = "", *, published_us: int = 0) -> Message:
    return Message(id, published_us, key, b"x" * SIZE)


def consumer(token: str = "", mode: Mode = Mode.STREAM, **limits: int) -> Consumer:
    return Consumer(mode, token=token, deliver=lambda batch: None, **limits)


def budget(messages: int = 100, *, room_bytes: int = 10_000, cap_bytes: int = 10_000) -> Budget:
    return Budget(messages=messages, room_bytes=room_bytes, cap_bytes=cap_bytes)


def ids(entries: list[Entry]) -> list[int]:
    return [entry.message.id for entry in entries]


@pytest.mark.parametrize(("messages", "room_bytes", "opened"), [(1, 1, True), (0, 1, False), (1, 0, False)])
def test_a_budget_is_open_while_it_has_messages_and_room(messages: int, room_bytes: int, opened: bool) -> None:
    assert budget(messages, room_bytes=room_bytes).open is opened
    assert budget(messages, room_bytes=room_bytes).spend(SIZE) is opened


def test_the_first_message_of_a_response_always_fits_and_the_others_up_to_its_size() -> None:
    small = budget(cap_bytes=5)
    assert (small.spend(6), small.spend(1)) == (True, False)
    exact = budget(cap_bytes=10)
    assert (exact.spend(4), exact.spend(6), exact.spend(1)) == (True, True, False)


def test_one_message_may_exceed_the_room_of_its_consumer_and_none_comes_behind_it() -> None:
    some = budget(room_bytes=5)
    assert (some.spend(4), some.spend(4), some.spend(0)) == (True, True, False)


def test_a_consumer_has_room_up_to_its_messages_and_bytes_and_gets_it_back() -> None:
    leases = Leases(uid="u", boot=1)
    for limits in ({"max_messages": 1}, {"max_bytes": 1}, {"max_bytes": SIZE}):
        taker, entry = consumer(**limits), Entry(message(1))
        assert taker.has_room
        leases.grant(entry, consumer=taker, deadline=10)
        assert not taker.has_room
        leases.end(entry, forget=True)
        assert taker.has_room
    taker.ready = False
    assert not taker.has_room


def test_new_messages_and_those_that_failed_are_taken_in_turn() -> None:
    lane = UnorderedLane()
    lane.add(message(id) for id in (1, 2, 3))
    for id in (11, 12):
        lane.put_back(Entry(message(id), failures=1))
    assert len(lane) == 5
    assert ids(lane.take(budget())) == [11, 1, 12, 2, 3]
    assert len(lane) == 0


def test_what_is_done_before_its_turn_comes_is_left_out() -> None:
    lane = UnorderedLane()
    entries = [Entry(message(id), failures=1) for id in (1, 2)]
    for entry in entries:
        lane.put_back(entry)
    lane.forget(entries[0])
    assert len(lane) == 1
    assert ids(lane.take(budget())) == [2]
    assert entries[0].state is State.DONE


def test_a_cleared_lane_has_nothing() -> None:
    lane = UnorderedLane()
    lane.add([message(1)])
    lane.put_back(Entry(message(2), failures=1))
    lane.clear()
    assert (len(lane), lane.take(budget())) == (0, [])


def test_leases_end_in_the_order_of_their_deadlines_however_these_were_moved() -> None:
    leases, taker = Leases(uid="u", boot=1), consumer()
    entries = [Entry(message(id)) for id in range(4)]
    for place, entry in enumerate(entries):
        leases.grant(entry, consumer=taker, deadline=10 + place)
    leases.extend(entries[0], 30)
    leases.end(entries[1], forget=True)
    entries[1].state = State.DONE
    assert leases.next_due <= 12
    assert leases.pop_expired(9) is None
    assert leases.pop_expired(12) is entries[2]
    assert leases.pop_expired(29) is entries[3]
    assert leases.pop_expired(29) is None
    assert (leases.next_due, leases.pop_expired(30)) == (30, entries[0])


def test_deadlines_that_move_earlier_again_and_again_do_not_pile_up() -> None:
    leases, taker = Leases(uid="u", boot=1), consumer()
    kept, moved = Entry(message(1)), Entry(message(2))
    leases.grant(kept, consumer=taker, deadline=7)
    leases.grant(moved, consumer=taker, deadline=100_000)
    for step in range(9000):
        leases.extend(moved, 99_999 - step)
    assert len(leases._heap) < 5000
    assert leases.pop_expired(7) is kept
    assert leases.pop_expired(90_999) is None
    assert leases.pop_expired(91_000) is moved
    for entry in (kept, moved):
        leases.end(entry, forget=True)
        entry.state = State.DONE
    assert leases.pop_expired(NEVER) is None


@pytest.mark.parametrize("ack_id", ["", "u", "u:1", "u:1:2:3", "v:1:2", "u:1:x", "u:²:1", "u:1:", "u:é:1"])
def test_an_ack_id_of_another_form_is_not_of_this_subscription(ack_id: str) -> None:
    assert Leases(uid="u", boot=1).is_own("u:1:99")
    assert not Leases(uid="u", boot=1).is_own(ack_id)


def test_cleared_leases_give_their_room_back_and_their_ack_ids_are_unknown() -> None:
    leases, taker, entry = Leases(uid="u", boot=1), consumer(), Entry(message(1))
    leases.grant(entry, consumer=taker, deadline=10)
    leases.clear()
    assert (leases.leased, taker.held_messages, taker.held_bytes) == (0, 0, 0)
    assert leases.find(entry.ack_id) is None
    assert (entry.state, leases.next_due) == (State.DONE, NEVER)


class Ordered:
    """A lane with two streams."""

    def __init__(self) -> None:
        self.lane = OrderedLane()
        self.a, self.b = (consumer(self.lane.connect(name)) for name in "ab")

    def take(self, taker: Consumer, some: Budget | None = None) -> list[Entry]:
        return self.lane.take(taker, some or budget())


@pytest.fixture
def ordered() -> Ordered:
    return Ordered()


def test_what_is_outstanding_of_a_key_waits_for_the_stream_that_has_it_to_come_back(ordered: Ordered) -> None:
    lane = ordered.lane
    lane.add([message(1, "k"), message(2, "k"), message(3, "k")])
    assert ids(ordered.take(ordered.a, budget(1))) == [1]
    assert ids(ordered.take(ordered.a, budget(1))) == [2]
    lane.disconnect(ordered.a.token)
    assert ordered.take(ordered.b) == []
    assert lane.connect("a") == ordered.a.token
    assert ids(ordered.take(ordered.a)) == [3]


def test_a_key_without_outstanding_messages_moves_on_when_its_stream_closes(ordered: Ordered) -> None:
    lane = ordered.lane
    lane.add([message(1, "k"), message(2, "k")])
    [first] = ordered.take(ordered.a, budget(1))
    assert lane.settle(first) == [first]
    assert ordered.take(ordered.b) == []
    lane.disconnect(ordered.a.token)
    assert ids(ordered.take(ordered.b)) == [2]


def test_a_key_that_moves_on_goes_to_one_stream(ordered: Ordered) -> None:
    lane = ordered.lane
    lane.add([message(1, "k"), message(2, "k")])
    [first] = ordered.take(ordered.a, budget(1))
    lane.add([message(3, "k"), message(4, "k")])
    lane.settle(first)
    lane.disconnect(ordered.a.token)
    other = consumer(lane.connect("c"))
    assert ids(ordered.take(ordered.b, budget(1))) == [2]
    assert ordered.take(other) == []


def test_a_stream_goes_on_with_its_keys_before_it_takes_another(ordered: Ordered) -> None:
    ordered.lane.add([message(1, "k"), message(2, "other"), message(3, "k")])
    assert [ids(ordered.take(ordered.a, budget(1))) for _ in range(3)] == [[1], [3], [2]]


def test_what_fails_is_found_after_earlier_messages_of_its_key_were_acked(ordered: Ordered) -> None:
    lane = ordered.lane
    lane.add(message(id, "k") for id in range(1, 6))
    first, second, _, fourth, _ = ordered.take(ordered.a)
    for entry in (first, second):
        lane.settle(entry)
    lane.add([message(6, "k")])
    assert ids(lane.rewind(fourth, until=0)) == [4, 5]
    assert ids(ordered.take(ordered.a)) == [4, 5, 6]


def test_what_has_yet_to_be_delivered_is_counted(ordered: Ordered) -> None:
    lane = ordered.lane
    lane.add(message(id, "k", published_us=id) for id in range(1, 6))
    assert lane.pending == 5
    taken = [*ordered.take(ordered.a, budget(1)), *ordered.take(ordered.a, budget(2))]
    assert lane.pending == 2
    assert lane.rewind(taken[1], until=0) == taken[1:]
    assert lane.pending == 4
    assert ids(lane.drop_before(4)) == [1, 2, 3]
    assert lane.pending == 2
    assert ids(ordered.take(ordered.a)) == [4, 5]
    lane.add([message(6, "k")])
    lane.clear()
    assert (lane.pending, list(lane), bool(lane), ordered.take(ordered.a)) == (0, [], False, [])


def test_a_line_that_waits_is_passed_over_until_it_is_unblocked(ordered: Ordered) -> None:
    lane = ordered.lane
    lane.add([message(1, "k"), message(2, "k")])
    [first] = ordered.take(ordered.a, budget(1))
    lane.rewind(first, until=9)
    lane.add([message(3, "k"), message(4, "other")])
    assert ids(ordered.take(ordered.a)) == [4]
    assert not lane
    lane.unblock(first.line)
    assert lane
    assert ids(ordered.take(ordered.a)) == [1, 2, 3]


def test_a_line_that_was_emptied_is_passed_over(ordered: Ordered) -> None:
    lane = ordered.lane
    lane.add([message(1, "k", published_us=1), message(2, "other", published_us=2)])
    assert ids(lane.drop_before(2)) == [1]
    assert ids(ordered.take(ordered.a)) == [2]


def test_a_key_of_which_nothing_fits_is_free_for_another_stream(ordered: Ordered) -> None:
    ordered.lane.add([message(1, "k"), message(2, "other")])
    assert ids(ordered.take(ordered.a, budget(cap_bytes=SIZE + 1))) == [1]
    assert ids(ordered.take(ordered.b)) == [2]


def test_a_stream_takes_what_fits_of_its_keys_and_the_rest_stays_with_it(ordered: Ordered) -> None:
    for id, key in ((1, "k"), (2, "l")):
        ordered.lane.add([message(id, key)])
        assert ids(ordered.take(ordered.a)) == [id]
    ordered.lane.add([message(3, "k"), message(4, "l")])
    assert ids(ordered.take(ordered.a, budget(cap_bytes=SIZE + 1))) == [3]
    assert ordered.lane.pending == 1
    assert ids(ordered.take(ordered.a)) == [4]


def test_a_push_endpoint_gets_one_message_of_each_key() -> None:
    lane = OrderedLane()
    lane.add([message(1, "k"), message(2, "k"), message(3, "other")])
    endpoint = consumer("push", Mode.PUSH)
    taken = lane.take(endpoint, budget())
    assert ids(taken) == [1, 3]
    assert lane.take(endpoint, budget()) == []
    lane.settle(taken[0])
    assert ids(lane.take(endpoint, budget())) == [2]


def test_an_idle_key_comes_back_to_its_stream_while_it_is_remembered(
    ordered: Ordered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ordering, "_REMEMBERED_KEYS", 1)
    lane = ordered.lane
    lane.add([message(1, "old"), message(2, "new")])
    for entry in ordered.take(ordered.a):
        lane.settle(entry)
    lane.add([message(3, "old"), message(4, "new")])
    assert ids(ordered.take(ordered.b)) == [3]
    assert ids(ordered.take(ordered.a)) == [4]


def test_failures_of_before_a_restart_go_on_counting_in_both_lanes() -> None:
    backlog = Backlog()
    backlog.add([message(1), message(2), message(3), message(4, "k"), message(5, "k")], ordered=True)
    backlog.restore_failures({2: 3, 5: 1})
    assert [each.id for each in backlog.messages()] == [1, 2, 3, 4, 5]
    assert (backlog.waiting, backlog.ready) == (5, 5)
    taken = backlog.take(consumer("", Mode.PULL), budget())
    assert {entry.message.id: entry.attempt for entry in taken} == {1: 1, 2: 4, 3: 1, 4: 1, 5: 2}


def test_what_is_published_at_the_moment_itself_is_not_before_it_wherever_it_stands() -> None:
    backlog = Backlog()
    backlog.add([message(1, published_us=5), message(2, published_us=6)], ordered=False)
    backlog.delivered = {entry.message.id: entry for entry in backlog.take(consumer("", Mode.PULL), budget())}
    backlog.add([message(3, published_us=5), message(4, published_us=6)], ordered=False)
    backlog.add([message(5, "k", published_us=5), message(6, "k", published_us=6)], ordered=True)
    fresh, entries = backlog.drop_before(6)
    assert ([each.id for each in fresh], sorted(ids(entries))) == ([3], [1, 5])


def test_a_line_that_failed_twice_waits_for_the_longer_of_its_backoffs() -> None:
    backlog, taker = Backlog(), consumer("", Mode.PULL)
    backlog.add([message(1, "k"), message(2, "k"), message(3)], ordered=True)
    first, second, other = backlog.take(taker, budget())
    backlog.put_back(second, until=20)
    backlog.put_back(first, until=10)
    backlog.delivered[3] = other
    backlog.put_back(other, until=30)
    assert (backlog.delayed, backlog.ready) == (3, 0)
    backlog.end_delays(10)
    assert (backlog.next_due, backlog.take(taker, budget())) == (20, [])
    backlog.end_delays(20)
    assert (backlog.delayed, backlog.ready) == (1, 2)
    assert ids(backlog.take(taker, budget())) == [1, 2]


def test_every_message_that_waits_for_a_backoff_is_counted_until_it_is_ready() -> None:
    backlog, taker = Backlog(), consumer("", Mode.PULL)
    backlog.add([message(id) for id in (1, 2, 3)], ordered=False)
    for entry in backlog.take(taker, budget()):
        backlog.delivered[entry.message.id] = entry
        backlog.put_back(entry, until=10 * entry.message.id)
    assert (backlog.delayed, backlog.ready) == (3, 0)
    backlog.end_delays(20)
    assert (backlog.delayed, backlog.ready) == (1, 2)
