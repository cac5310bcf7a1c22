"""Large payloads by reference: what a message may name, and what is read for it."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from poolhouse.pipeline import names
from poolhouse.pipeline.config import topology
from poolhouse.pipeline.errors import ConfigError, MalformedMessage
from poolhouse.pipeline.messaging.message import TaskMessage, decode
from poolhouse.pipeline.pieces import PIECE_BYTES
from poolhouse.pipeline.tasks import large_values
from poolhouse.pipeline.tasks.large_values import ValueLost, payload_object
from poolhouse.pipeline.tasks.task_ids import TaskIds
from poolhouse.testing.doubles import MemoryStore

AT = datetime(2026, 3, 1, tzinfo=UTC)
QUEUE = "[queues.default]\n"


def message(**payload: object) -> TaskMessage:
    return TaskMessage(task_id="t-1", task_type="echo", submitted_at=AT, queue="default", payload=payload)


def read(data: bytes, attributes: dict[str, str]) -> TaskMessage:
    return decode(data, attributes, queue="default", message_id="m", published_at=AT, task_ids=TaskIds(b"k" * 32))


def test_a_payload_within_the_limit_stays_in_its_message() -> None:
    task = message(text="x" * 80)
    assert task.by_reference(above_bytes=len(json.dumps(task.payload, separators=(",", ":")))) is task


def test_a_larger_one_is_named_by_its_hash_and_its_message_is_small() -> None:
    task = message(text="x" * 5000).by_reference(above_bytes=1000)
    assert task.payload_object is not None
    assert task.payload_data is not None
    assert task.payload_object.name == f"payloads/t-1/{task.payload_object.sha256}.json"
    assert len(task.data()) < 200
    found = read(task.data(), task.attributes())
    assert (found.payload, found.payload_object) == ({}, task.payload_object)
    store = MemoryStore()
    large_values.write(store, task.payload_object, task.payload_data)
    assert large_values.read(store, task.payload_object) == task.payload


@pytest.mark.parametrize(
    "attributes",
    [
        {"payload_sha256": "../../tasks/other", "payload_bytes": "10"},
        {"payload_sha256": "A" * 64, "payload_bytes": "10"},
        {"payload_sha256": "a" * 64},
        {"payload_sha256": "a" * 64, "payload_bytes": "-1"},
        {"payload_sha256": "a" * 64, "payload_bytes": "9" * 40},
        {"payload_sha256": "a" * 64, "payload_bytes": "٣"},
    ],
)
def test_a_reference_that_is_none_is_a_malformed_message(attributes: dict[str, str]) -> None:
    with pytest.raises(MalformedMessage, match="no reference to a payload"):
        read(b'{"task_type": "echo"}', attributes)


def test_a_message_with_a_payload_and_a_reference_is_malformed() -> None:
    with pytest.raises(MalformedMessage, match="refers to another"):
        read(b'{"task_type": "echo", "n": 1}', {"payload_sha256": "a" * 64, "payload_bytes": "10"})


def test_a_reference_names_an_object_of_its_own_task_alone() -> None:
    found = read(b'{"task_type": "echo", "task_id": "mine"}', {"payload_sha256": "a" * 64, "payload_bytes": "10"})
    assert found.payload_object is not None
    assert found.payload_object.name == names.payload("mine", "a" * 64)


@pytest.mark.parametrize("present", [b'{"n": 2}', b'{"n": 1} ', b"", b'{"n": 1'])
def test_what_is_not_what_was_written_is_not_read(present: bytes) -> None:
    store, value = MemoryStore(), payload_object("t-1", b'{"n": 1}')
    store.put(value.name, present)
    with pytest.raises(ValueLost, match="not what was written"):
        large_values.read(store, value)


def test_what_is_gone_is_said_to_be() -> None:
    with pytest.raises(ValueLost, match="is gone"):
        large_values.read(MemoryStore(), payload_object("t-1", b"{}"))


def test_more_than_a_request_holds_is_written_and_read_in_pieces() -> None:
    data = json.dumps({"text": "x" * (2 * PIECE_BYTES)}).encode()
    store, value = MemoryStore(), payload_object("t-1", data)
    large_values.write(store, value, data)
    assert large_values.read(store, value) == json.loads(data)


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("[payloads]\ninline_bytes = 10_000_000\n", "payloads.inline_bytes"),
        ("[payloads]\ninline_bytes = 500_000\nmax_bytes = 200_000\n", "is above max_bytes"),
        ("[payloads]\nmost = 1\n", "allowed: inline_bytes, max_bytes"),
        ("[bucket.lifecycle_days]\npayloads = 3\ndead-letters = 4\n", "dead letters are kept for 4 days"),
        ("[bucket.lifecycle_days]\npayloads = 3\n", "dead letters are kept for ever"),
    ],
)
def test_limits_that_can_not_be_are_refused_with_their_line(table: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        topology.parse(QUEUE + table)
    assert "pipeline.toml:" in str(caught.value)
