"""What a worker asks of the queues."""

from __future__ import annotations

from typing import Any

import pytest

from poolhouse.pipeline import topology
from poolhouse.worker import Payload
from poolhouse.worker.registry import Handler
from poolhouse.worker.runtime.worker import messages_held


def handler(**options: Any) -> Handler:
    return Handler(task_type="t", function=lambda payload, ctx: None, payload_type=Payload, **options)


@pytest.mark.parametrize(
    ("handlers", "held"),
    [
        ([handler()], 16),  # little beyond what runs: another worker may be free
        ([handler(), handler(record=False)], 56),
        ([handler(), handler(record=False, queue="bulk")], 16),  # short tasks of another queue
        ([handler(), handler(rate="1/m")], 1016),
        ([handler(max_concurrency=1, record=False)], 1056),
    ],
)
def test_a_worker_holds_more_messages_where_its_tasks_are_short_or_have_to_wait(
    handlers: list[Handler], held: int
) -> None:
    assert messages_held("default", 8, handlers, topology=topology.load("pipeline.toml")) == held
