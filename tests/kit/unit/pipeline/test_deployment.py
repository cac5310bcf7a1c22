"""The keys behind the task ids: one for all processes, whatever happens to the object that holds them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from poolhouse.api.services import Deployment
from poolhouse.pipeline import names
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.tasks.task_id_key import load_task_ids, reload_task_ids
from poolhouse.testing.doubles import MemoryStore

AT = datetime(2026, 3, 1, tzinfo=UTC)


def test_processes_share_the_key_that_the_first_one_made() -> None:
    store = MemoryStore()
    assert load_task_ids(store) == load_task_ids(store)
    assert len(store.writes) == 1


def test_after_a_rotation_old_ids_are_known_and_new_ones_are_made_with_the_new_key() -> None:
    store = MemoryStore()
    before = load_task_ids(store)
    store.put(names.TASK_ID_KEY, b"n" * 32 + before.key)
    after = load_task_ids(store)
    assert after.issued(before.new(AT))
    assert after.key == b"n" * 32
    assert not before.issued(after.new(AT))
    assert reload_task_ids(store, before).issued(after.new(AT))


def test_instances_that_ran_while_the_key_was_lost_learn_each_others_ids() -> None:
    store = MemoryStore()
    old = Deployment(store)
    old_id = old.load().new(AT)
    store.delete(names.TASK_ID_KEY)
    new = Deployment(store)
    new_id = new.load().new(AT)
    assert old.issued(new_id)
    assert new.issued(old_id)


def test_invented_ids_cost_no_storage_calls() -> None:
    store = MemoryStore()
    deployment = Deployment(store)
    deployment.load()
    assert not deployment.issued("x" * 30)
    calls = store.calls
    assert not any(deployment.issued(f"{number:030d}") for number in range(100))
    assert store.calls == calls


@pytest.mark.parametrize("data", [b"", b"short", b"k" * 33])
def test_an_object_that_holds_no_keys_is_named(data: bytes) -> None:
    store = MemoryStore()
    store.put(names.TASK_ID_KEY, data)
    with pytest.raises(ConfigError, match="config/task-id-key"):
        load_task_ids(store)
