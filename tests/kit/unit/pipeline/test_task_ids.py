"""Ids that prove themselves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolhouse.pipeline.names import check_task_id
from poolhouse.pipeline.tasks.task_ids import GROUP_PLACE, TaskIds, group_prefix, is_group, new_key

IDS = TaskIds(b"k" * 32)
AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
times = st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1)).map(lambda at: at.replace(tzinfo=UTC))


@given(times)
def test_an_id_is_recognised_and_contains_its_time(at: datetime) -> None:
    task_id = IDS.new(at)
    assert IDS.issued(check_task_id(task_id))
    assert timedelta() <= at - IDS.submitted_at(task_id) < timedelta(milliseconds=1)


@given(st.integers(min_value=0, max_value=29), st.sampled_from("0123456789abcdefghjkmnpqrstvwxyz"))
def test_an_id_with_one_other_character_was_never_issued(position: int, character: str) -> None:
    task_id = IDS.derive("seed", AT)
    changed = task_id[:position] + character + task_id[position + 1 :]
    assert IDS.issued(changed) == (changed == task_id)


@pytest.mark.parametrize("text", ["", "x", "0" * 30, "A" * 30, "0" * 1000, "é" * 30])
def test_what_is_no_id_is_not_recognised(text: str) -> None:
    assert not IDS.issued(text)
    with pytest.raises(ValueError, match="not an id"):
        IDS.submitted_at(text)


def test_another_deployments_ids_are_not_ours() -> None:
    assert not IDS.issued(TaskIds(new_key()).new(AT))


@given(times, times)
def test_a_listing_by_name_shows_the_newest_task_first(one: datetime, other: datetime) -> None:
    if abs(one - other) >= timedelta(milliseconds=1):
        assert (IDS.new(one) < IDS.new(other)) == (one > other)


def test_a_seed_always_gives_the_same_id_and_another_seed_another() -> None:
    assert IDS.derive("a", AT) == IDS.derive("a", AT)
    assert len({IDS.derive(str(number), AT) for number in range(10_000)}) == 10_000


def test_the_key_does_not_show() -> None:
    assert "kkk" not in repr(IDS)


@given(times, st.integers(0, GROUP_PLACE - 1))
def test_an_id_tells_its_group_and_its_place(at: datetime, place: int) -> None:
    group_id = IDS.new_group(at)
    assert IDS.place_of(IDS.in_group(group_id, place)) == (group_id, place)
    with pytest.raises(ValueError, match="not an id"):
        TaskIds(new_key()).place_of(IDS.in_group(group_id, place))


def test_the_tasks_of_a_group_stand_side_by_side_in_order_and_are_issued() -> None:
    ids = TaskIds(b"k" * 32)
    group_id = ids.new_group(AT)
    members = [ids.in_group(group_id, place) for place in (0, 1, 31, 32, 99_999, GROUP_PLACE - 1)]
    assert members == sorted(members)
    assert all(ids.issued(member) and member.startswith(group_prefix(group_id)) for member in members)
    assert members[-1] < group_id
    assert len(set(members)) == 6
    assert not any(is_group(member) for member in members)
    assert is_group(group_id)


def test_a_groups_ids_stay_the_same_when_the_key_is_rotated() -> None:
    before = TaskIds(b"k" * 32)
    group_id = before.new_group(AT)
    after = TaskIds(b"n" * 32, retired=(before.key,))
    assert after.in_group(group_id, 7) == before.in_group(group_id, 7)


def test_only_a_group_of_the_deployment_has_tasks() -> None:
    ids = TaskIds(b"k" * 32)
    for wrong in ("group", ids.new(AT), TaskIds(b"o" * 32).new_group(AT)):
        with pytest.raises(ValueError, match="not a group of this deployment"):
            ids.in_group(wrong, 0)


def test_no_plain_id_is_taken_for_a_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.randbits", lambda bits: (1 << bits) - 1)
    ids = TaskIds(b"k" * 32)
    assert is_group(ids.new_group(AT))
    assert not is_group(ids.new(AT))
