"""Chains, and what follows a failure."""

from __future__ import annotations

import requests

from poolhouse.pipeline.tasks.record_store import RecordStore
from poolhouse.pipeline.tasks.records import Status, TaskRecord
from poolhouse.testing.pipeline import Pipeline
from tests.kit.unit.groups import handlers
from tests.kit.unit.groups.handlers import Page, broken, ran


def all_records(pipeline: Pipeline) -> dict[str, TaskRecord]:
    """The records by task type: one of each in these tests."""
    records = RecordStore(pipeline.store)
    found = [records.read(summary.task_id) for summary in records.summaries()]
    return {stored.record.task_type: stored.record for stored in found if stored is not None}


def test_each_task_of_a_chain_is_handed_the_result_of_the_one_before(pipeline: Pipeline) -> None:
    chain = pipeline.submit(handlers.chain, Page(url="a/b"))
    pipeline.run_until_idle()
    found = all_records(pipeline)
    assert found["shout"].result == "A/B HAS 3"
    assert found["measure"].payload == {"url": "a/b", "size": 3}
    assert found["fetch"].parent_id == chain.task_id
    assert found["measure"].parent_id == found["fetch"].task_id
    assert found["shout"].parent_id == found["measure"].task_id
    assert ran == ["fetch", "measure", "shout"]


def test_no_point_of_failure_changes_what_a_chain_comes_to(pipeline: Pipeline) -> None:
    for turn in pipeline.crash_points(results=False):
        with turn:
            ran.clear()
            pipeline.submit(handlers.chain, Page(url="a/b"))
            pipeline.run_until_idle()
            assert all_records(pipeline)["shout"].result == "A/B HAS 3"


def test_a_failure_anywhere_in_a_chain_has_the_same_task_follow(pipeline: Pipeline) -> None:
    broken.add(3)
    pipeline.submit(handlers.chain, Page(url="a/b"))
    pipeline.run_until_idle()
    found = all_records(pipeline)
    assert found["measure"].status is Status.DEAD
    assert found["alarm"].payload["channel"] == "chain"
    assert found["alarm"].payload["failure"] == {
        "task_id": found["measure"].task_id,
        "task_type": "measure",
        "status": "dead",
        "reason": found["measure"].reason,
    }
    assert ran == ["fetch", *["measure"] * 3, "alarm chain"]


def test_a_replayed_task_goes_on_with_the_chain(pipeline: Pipeline) -> None:
    broken.add(3)
    pipeline.submit(handlers.chain, Page(url="a/b"))
    pipeline.run_until_idle()
    broken.clear()
    letter = pipeline.assert_dead_lettered(reason="too long")
    assert requests.post(f"{pipeline.api_url}/dead-letters/{letter.task_id}:replay", timeout=10).ok
    pipeline.run_until_idle()
    assert all_records(pipeline)["shout"].result == "A/B HAS 3"


def test_a_result_that_can_not_be_handed_on_ends_its_task(pipeline: Pipeline) -> None:
    task = pipeline.submit(handlers.unfit, Page(url="a"))
    pipeline.run_until_idle()
    found = all_records(pipeline)
    assert found["shout"].status is Status.FAILED
    assert "its result can't be handed on: measure takes the fields of a result that is an object" in (
        found["shout"].reason or ""
    )
    assert task.status is Status.SUCCEEDED
    assert "measure" not in found
