"""Text is cleaned and values are refused before they are kept."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, computed_field

from poolhouse.pipeline import json_values
from poolhouse.pipeline.errors import InvalidValue
from poolhouse.pipeline.json_values import MAX_DEPTH, clean_text
from poolhouse.pipeline.tasks.records import ErrorInfo, Progress, Status, TaskRecord


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("plain\n\ttext", "plain\n\ttext"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("caf\udce9", "caf\\udce9"),
        ("a\r\nb\rc", "a\nb\\rc"),
        ("\x00\x7f\x85\u2028", "\\x00\\x7f\\x85\\u2028"),
        (Unspeakable(), "(its text can't be read: __str__ raised RuntimeError)"),
    ],
)
def test_control_characters_and_lone_surrogates_are_shown_as_escapes(text: object, clean: str) -> None:
    assert clean_text(text) == clean


@given(st.text(st.characters(exclude_categories=()), max_size=50))
def test_any_text_is_written_and_read_again_in_a_record(text: str) -> None:
    now = datetime.now(UTC)
    record = TaskRecord(
        task_id="t",
        task_type="x",
        queue="q",
        status=Status.FAILED,
        submitted_at=now,
        updated_at=now,
        progress=Progress(done=math.nan, note=text, at=now),
        reason=clean_text(text),
        result=ErrorInfo(type=text, message=text, traceback=text).model_dump(),
    )
    assert TaskRecord.model_validate_json(record.model_dump_json(exclude_defaults=True)) == record
    assert clean_text(text, one_line=True).isprintable() or not text.isprintable()


def test_text_has_a_limit_from_its_beginning_or_to_its_end() -> None:
    assert clean_text("abcdef", limit=3) == "abc"
    assert clean_text("abcdef", limit=3, tail=True) == "def"
    assert len(clean_text("\x1b" * 100, limit=50)) == 50


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"rows": [1, {"mean": math.nan}]}, "the result.rows.1.mean is nan, which JSON has no form for"),
        ([object()], "the result.0 is a builtins.object, which JSON has no form for"),
        ({"file": "\udce9"}, "the result.file is text with a lone surrogate, which has no UTF-8"),
        (nested(MAX_DEPTH + 1), f"the result is nested deeper than {MAX_DEPTH} levels"),
        (nested(100_000), f"the result is nested deeper than {MAX_DEPTH} levels"),
        ((error for error in [Unspeakable()]), "Unspeakable"),
        ({1: "a", "1": "b"}, "the result has keys that are all '1' in JSON"),
        ({"by id": [{None: 0, "null": 1}]}, "the result.by id.0 has keys that are all 'null' in JSON"),
        ({(1, 2): "a", "1,2": {3}}, "the result has keys that are all '1,2' in JSON"),
    ],
)
def test_a_value_without_a_form_in_json_is_refused_with_its_place(value: object, problem: str) -> None:
    with pytest.raises(InvalidValue, match=r"^the result") as refused:
        json_values.encode(value, what="the result")
    assert problem in str(refused.value)


def test_what_has_one_usual_form_is_converted() -> None:
    class Row(BaseModel):
        price: Decimal

    value = [Row(price=Decimal("1.10")), {datetime(2026, 1, 2, tzinfo=UTC)}]
    assert json.loads(json_values.encode(value, what="it")) == [{"price": "1.10"}, ["2026-01-02T00:00:00Z"]]
    assert json_values.encode(nested(MAX_DEPTH), what="it")
    assert json_values.encode({1: "a", "2": {True: 0}}, what="it") == b'{"1":"a","2":{"true":0}}'


json_value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(json_value)
def test_what_json_knows_is_encoded_as_it_is_and_read_back_the_same(value: object) -> None:
    encoded = json_values.encode(value, what="it")
    assert json.loads(encoded) == value
    assert json_values.parse(encoded) == value


@given(st.binary(max_size=40) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_what_can_be_read_can_be_written_and_read_again(data: bytes) -> None:
    try:
        value = json_values.parse(data)
    except ValueError:
        return
    assert json_values.parse(json_values.encode(value, what="it")) == value


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff", b"NaN", b"[1e999]", b'["\\ud800"]', b"9" * 5000, b"[" * 101 + b"]" * 101, b"[" * 100_000],
)
def test_what_could_not_be_written_again_is_not_read(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        json_values.parse(data)


def test_a_byte_order_mark_is_no_part_of_a_message() -> None:
    assert json_values.parse(b'\xef\xbb\xbf{"a":1.5e10}') == {"a": 1.5e10}


class Square(BaseModel):
    model_config = ConfigDict(extra="forbid")
    side: int

    @computed_field
    def area(self) -> int:
        return self.side**2


class Circle(BaseModel):
    model_config = ConfigDict(extra="forbid")
    radius: int


class Drawing(BaseModel):
    model_config = ConfigDict(extra="forbid")
    shapes: list[Square | Circle]
    named: dict[str, Square] = {}

    @computed_field
    def count(self) -> int:
        return len(self.shapes)


@pytest.mark.parametrize(
    ("value", "as_type"),
    [
        (Square(side=3), Square),
        ([Square(side=3)], list[Square]),
        (Drawing(shapes=[Circle(radius=1), Square(side=2)], named={"area": Square(side=1)}), Drawing),
        (None, Drawing | None),
        ((1, Square(side=2)), tuple[int, Square]),
    ],
)
def test_what_was_encoded_is_decoded_as_its_type(value: object, as_type: Any) -> None:
    assert json_values.decode(json_values.encode(value, what="it"), TypeAdapter(as_type)) == value


@pytest.mark.parametrize(
    "data", [b'{"side": 1, "aera": 1}', b'{"side": "x", "area": 1}', b'{"area": 1}', b'{"radius": 1, "area": 1}', b"1"]
)
def test_what_is_another_type_is_refused_with_all_that_is_wrong(data: bytes) -> None:
    adapter = TypeAdapter(Square)
    with pytest.raises(ValidationError) as refused:
        json_values.decode(data, adapter)
    with pytest.raises(ValidationError) as plainly:
        adapter.validate_json(data)
    assert refused.value.error_count() == plainly.value.error_count()


def test_a_type_that_pydantic_does_not_know_is_read_as_it_is() -> None:
    assert json_values.decode(b'{"a": [1]}', json_values.adapter(Unspeakable)) == {"a": [1]}
    assert json_values.decode(b'["2026-03-01"]', json_values.adapter(list[date])) == [date(2026, 3, 1)]
