"""The task message, as the API writes it and as anybody may write it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from poolhouse.pipeline.errors import MalformedMessage
from poolhouse.pipeline.messaging.message import TaskMessage, decode
from poolhouse.pipeline.tasks.task_ids import TaskIds

IDS = TaskIds(b"k" * 32)
AT = datetime(2026, 3, 1, 12, 0, 0, 123000, tzinfo=UTC)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
payloads = st.dictionaries(st.text().filter(lambda name: name not in {"task_id", "task_type", "submitted_at"}), values)


def read(data: bytes, attributes: dict[str, str] | None = None, *, message_id: str = "7") -> TaskMessage:
    return decode(data, attributes or {}, queue="default", message_id=message_id, published_at=AT, task_ids=IDS)


@given(payloads)
def test_what_is_written_is_read_again(payload: dict[str, Any]) -> None:
    task = TaskMessage(task_id="t-1", task_type="echo", submitted_at=AT, queue="default", payload=payload)
    assert read(task.data(), task.attributes()) == task


@given(st.binary(max_size=60) | values.map(lambda value: str(value).encode("utf-8", "replace")))
def test_any_bytes_are_a_task_or_malformed(data: bytes) -> None:
    outcome: object
    try:
        outcome = read(data).task_type
    except MalformedMessage as error:
        outcome = str(error).startswith("malformed message: ")
    assert outcome


def test_a_message_by_hand_gets_the_id_of_its_message_and_the_time_of_its_publishing() -> None:
    task = read(b'{"task_type": "echo", "n": 1}')
    assert task == read(b'{"n": 1, "task_type": "echo"}')
    assert task.task_id != read(b'{"task_type": "echo", "n": 1}', message_id="8").task_id
    assert (task.submitted_at, task.payload) == (AT, {"n": 1})


def test_the_attribute_names_the_task_where_the_body_does_not() -> None:
    assert read(b'{"task_type": "echo"}', {"task_id": "t-9"}).task_id == "t-9"


def test_trace_context_travels_in_attributes() -> None:
    trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    assert read(b'{"task_type": "echo"}', {**trace, "other": "x"}).trace == trace
