from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field
from pydantic.json_schema import models_json_schema

from poolhouse.client.schema import Payload
from poolhouse.local.console import fields
from poolhouse.local.console.fields import Kind
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.names import FileName


class Part(BaseModel):
    name: str


class Everything(BaseModel):
    words: str
    optional: str | None = None
    whole: int = 3
    real: Annotated[float, Field(ge=0)] | None = None
    sure: bool = False
    colour: Literal["red", "green"] = "red"
    file: FileName | None = None
    parts: list[Part] = []
    shape: Literal["round"] | Part = Field(default="round", examples=[{"name": "n"}])
    code: int | str = 0
    anything: Any = None


def known() -> Payload:
    _, document = models_json_schema([(Everything, "validation")], ref_template="#/components/schemas/{model}")
    found = document["$defs"]["Everything"]
    return Payload(
        "everything", found["properties"], document["$defs"], example={}, required=frozenset(found["required"])
    )


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("words", Kind.TEXT),
        ("optional", Kind.TEXT),
        ("whole", Kind.NUMBER),
        ("real", Kind.NUMBER),
        ("sure", Kind.FLAG),
        ("colour", Kind.CHOICE),
        ("file", Kind.FILE),
        ("parts", Kind.JSON),
        ("shape", Kind.JSON),
        ("code", Kind.TEXT),
        ("anything", Kind.JSON),
    ],
)
def test_a_field_is_filled_in_as_its_type_asks_for(name: str, kind: Kind) -> None:
    found = {field.name: field for field in fields.of(known(), texts={}, errors={})}
    assert found[name].kind is kind


def test_what_is_required_comes_first_and_says_so() -> None:
    form = fields.of(known(), texts={"words": "typed"}, errors={"whole": "too large"})
    assert [field.name for field in form if field.required] == ["words"]
    assert form[0].name == "words"
    assert form[0].text == "typed"
    by_name = {field.name: field for field in form}
    assert by_name["whole"].error == "too large"
    assert by_name["whole"].default == "3"
    assert by_name["whole"].whole
    assert not by_name["real"].whole
    assert by_name["colour"].choices == ("red", "green")
    assert "round" in by_name["shape"].help
    assert by_name["shape"].example == '{"name": "n"}'


def test_a_payload_has_what_was_filled_in_as_the_fields_take_it() -> None:
    filled = {
        "words": "12",
        "whole": "12",
        "real": "1.5",
        "sure": "true",
        "colour": "green",
        "parts": '[{"name": "n"}]',
        "shape": "round",
        "optional": "  ",
        "of another": "form",
    }
    payload = fields.payload(known(), filled)
    assert payload == {
        "words": "12",
        "whole": 12,
        "real": 1.5,
        "sure": True,
        "colour": "green",
        "parts": [{"name": "n"}],
        "shape": "round",
    }
    assert fields.payload(known(), fields.texts(payload)) == payload


def test_a_whole_payload_is_an_object() -> None:
    assert fields.whole('{"a": 1}') == {"a": 1}
    assert fields.whole("") == {}
    for text in ("[1]", "{", "word"):
        with pytest.raises(ConfigError, match="the payload is"):
            fields.whole(text)


def test_errors_find_their_field_and_those_of_none_are_kept() -> None:
    errors = [
        {"field": "payload.words", "message": "is required"},
        {"field": "payload.parts.0.name", "message": "is no text"},
        {"field": "queue", "message": "there is none"},
    ]
    assert fields.by_field(errors, known()) == {
        "words": "is required",
        "parts": "parts.0.name: is no text",
        "": "queue: there is none",
    }
