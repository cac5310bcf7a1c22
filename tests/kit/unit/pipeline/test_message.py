"""The task message, as the API writes it and as anybody may write it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poolhouse.pipeline.errors import MalformedMessage
from poolhouse.pipeline.messaging.message import (
    LINKS,
    NOT_BEFORE,
    PUT_OFF,
    RESERVED_FIELDS,
    WEBHOOK_URL,
    TaskMessage,
    decode,
)
from poolhouse.pipeline.tasks import transitions
from poolhouse.pipeline.tasks.large_values import PAYLOAD_BYTES, PAYLOAD_SHA256
from poolhouse.pipeline.tasks.records import TaskRecord
from poolhouse.pipeline.tasks.task_ids import TaskIds
from tests.tally import Tally

IDS = TaskIds(b"k" * 32)
AT = datetime(2026, 3, 1, 12, 0, 0, 123000, tzinfo=UTC)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
payloads = st.dictionaries(st.text().filter(lambda name: name not in RESERVED_FIELDS), values)


def read(data: bytes, attributes: dict[str, str] | None = None, *, message_id: str = "7") -> TaskMessage:
    return decode(data, attributes or {}, queue="default", message_id=message_id, published_at=AT, task_ids=IDS)


@given(payloads)
def test_what_is_written_is_read_again(payload: dict[str, Any]) -> None:
    task = TaskMessage(task_id="t-1", task_type="echo", submitted_at=AT, queue="default", payload=payload)
    assert read(task.data(), task.attributes()) == task


texts = st.text(max_size=8)
times = st.sampled_from(
    ["2026-03-01T12:00:00Z", "2026-03-01T23:59:59.5+02:00", "2026-03-01", "0001-01-01T00:00:00+14:00", "soon", ""]
)
ids = st.sampled_from(["t-1", "t-2", "t.3", "t" * 128, "t" * 129, "../t"])
names = st.sampled_from(["nightly", "in-2", "a" * 30, "a" * 31, "Nightly", "nightly\n", "a:b", ""])
links = st.fixed_dictionaries(
    {},
    optional={
        "parent_id": ids,
        "group_id": ids,
        "group_index": st.integers(0, 9),
        "trigger": names,
        "schedule": names,
        "then": st.lists(st.fixed_dictionaries({"task_type": texts, "queue": texts}), max_size=2),
    },
)
#: Bodies that are right, close to right, and damaged.
right = payloads.map(lambda payload: json.dumps({**payload, "task_type": "echo"}).encode())
bodies = st.fixed_dictionaries(
    {"task_type": st.sampled_from([*["echo"] * 6, "a b", "", 7])},
    optional={"task_id": ids, "submitted_at": times, LINKS: links | values, "n": values, "m": values},
).map(lambda body: json.dumps(body).encode())
damaged = st.builds(lambda data, at, cut: data[:at] + data[at + cut :], bodies, st.integers(0, 60), st.integers(0, 3))
some_attributes = st.fixed_dictionaries(
    {},
    optional={
        "task_id": ids,
        NOT_BEFORE: times,
        PUT_OFF: texts,
        WEBHOOK_URL: st.sampled_from(["https://example.com/hook", "https://example.com/x?y=z", "ftp://x", "x"]),
        "traceparent": texts,
        PAYLOAD_SHA256: st.sampled_from(["0" * 64, "0", ""]),
        PAYLOAD_BYTES: st.sampled_from(["7", "-7", "", "²", "9" * 30]),
    },
)


def test_any_bytes_are_a_task_that_a_record_keeps_or_malformed() -> None:
    tally = Tally(MalformedMessage)

    @settings(max_examples=300, deadline=None, derandomize=True, database=None)
    @given(
        st.tuples(right, st.just({}))
        | st.tuples(right | bodies | damaged | st.binary(max_size=60), st.just({}) | some_attributes)
    )
    def check(message: tuple[bytes, dict[str, str]]) -> None:
        data, attributes = message
        with tally:
            task = read(data, attributes)
            record = transitions.fresh(task, now=AT)
            assert TaskRecord.model_validate_json(record.model_dump_json(exclude_defaults=True)) == record
            again = read(task.data(), task.attributes())
            assert (again.task_id, again.payload, again.links) == (task.task_id, task.payload, task.links)

    check()
    tally.check(accepted=60, rejected=60)


@pytest.mark.parametrize(
    ("body", "attributes", "problem"),
    [
        (b"{", {}, "the body is not JSON"),
        (b"[]", {}, "the body is an array, not an object"),
        (b"{}", {}, "task_type is required$"),
        (b'{"task_type": ""}', {}, "task_type is required$"),
        (b'{"task_type": 7}', {}, "task_type is required, as a string"),
        (b'{"task_type": "echo", "task_id": 7}', {}, "task_id is not a string"),
        (b'{"task_type": "echo", "submitted_at": 7}', {}, "submitted_at is not an ISO 8601 time"),
        (b'{"task_type": "echo", "submitted_at": "0001-01-01T00:00:00+14:00"}', {}, "submitted_at is not"),
        (b'{"task_type": "echo", "submitted_at": "9999-12-31T23:59:59Z"}', {}, "submitted_at lies years ahead"),
        (b'{"task_type": "echo"}', {NOT_BEFORE: "soon"}, "not_before is not an ISO 8601 time"),
        (b'{"task_type": "echo"}', {WEBHOOK_URL: "ftp://x"}, "webhook_url "),
        (b'{"task_type": "echo", "_poolhouse": 7}', {}, "_poolhouse is for the server alone"),
        (b'{"task_type": "echo", "_poolhouse": {"parent_id": "../t"}}', {}, "_poolhouse is for the server alone"),
        (b'{"task_type": "echo"}', {PAYLOAD_SHA256: "0"}, "are no reference to a payload"),
        (b'{"task_type": "echo", "n": 1}', {PAYLOAD_SHA256: "0" * 64, PAYLOAD_BYTES: "7"}, "refers to another"),
    ],
)
def test_a_malformed_message_is_refused_with_what_is_wrong(
    body: bytes, attributes: dict[str, str], problem: str
) -> None:
    with pytest.raises(MalformedMessage, match=f"^malformed message: .*{problem}"):
        read(body, attributes)


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
