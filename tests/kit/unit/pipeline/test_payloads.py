"""What a model is submitted as, and what default factories make."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, computed_field

from poolhouse.pipeline.messaging.payloads import completed, makes_values, sent
from poolhouse.worker.registry import Handler


class Colour(Enum):
    RED = "red"


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    tricks: list[str] = []


class Named(BaseModel):
    short: int = Field(alias="aLongName")


class Fine(BaseModel):
    """Everything that JSON can carry, if not as the same type."""

    model_config = ConfigDict(extra="allow")

    aliased: int = Field(alias="theAlias")
    read_as: int = Field(default=1, validation_alias="readAs")
    at: datetime
    span: timedelta
    price: Decimal
    path: Path
    data: bytes
    colour: Colour
    choice: int = Field(default=1, validation_alias=AliasChoices("oneName", "otherName"))
    nested: list[Named]
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    tags: frozenset[str]
    hidden: str = Field(default="same", exclude=True)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def doubled(self) -> int:
        return 2 * self.aliased


class Secretive(BaseModel):
    inner: Inner


class Inner(BaseModel):
    password: SecretStr = SecretStr("")


class Hidden(BaseModel):
    shown: int = 1
    kept_back: str = Field(default="nothing", exclude=True)


class Listed(BaseModel):
    listed: Annotated[list[str], BeforeValidator(lambda text: text.split(","))]


class Made(BaseModel):
    key: str = Field(default_factory=lambda: uuid.uuid4().hex, alias="theKey")
    tags: list[str] = Field(default_factory=list)
    inner: Part
    secret: SecretStr = Field(default_factory=lambda: SecretStr(uuid.uuid4().hex))


class Part(BaseModel):
    at: datetime = Field(default_factory=lambda: datetime.now(UTC))


def test_a_model_is_sent_as_what_it_can_be_read_from() -> None:
    fine = Fine.model_validate(
        {
            "theAlias": 3,
            "readAs": 5,
            "otherName": 7,
            "nested": [{"aLongName": 1}],
            "at": datetime.now(UTC),
            "span": 90,
            "price": "1.10",
            "path": "/tmp/x",
            "data": b"abc",
            "colour": "red",
            "pet": {"kind": "dog", "tricks": ["sit"]},
            "tags": ["a", "b"],
            "more": {"than": "declared"},
        }
    )
    assert Fine.model_validate(sent(fine)) == fine
    assert "doubled" not in sent(fine)


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        (Secretive(inner=Inner(password=SecretStr("s3cret"))), r"Secretive: field inner\.password is another"),
        (Hidden(kept_back="something"), "Hidden: field kept_back is another"),
        (Listed.model_validate({"listed": "a,b"}), "Listed: what it is as JSON is refused"),
    ],
)
def test_a_model_that_would_not_come_back_equal_is_refused_with_the_field(payload: BaseModel, field: str) -> None:
    handler = Handler(task_type="t", function=lambda payload, ctx: None, payload_type=type(payload))
    with pytest.raises(ValueError, match=f"{field}.*submit a mapping"):
        handler.payload_of(payload)


def test_a_mapping_is_sent_as_it_is() -> None:
    handler = Handler(task_type="t", function=lambda payload, ctx: None, payload_type=Listed)
    assert handler.payload_of({"listed": "a,b"}) == {"listed": "a,b"}


def test_what_factories_make_goes_into_the_payload_under_the_names_that_are_read() -> None:
    assert [makes_values(model) for model in (Made, Secretive, Dog)] == [True, False, False]
    raw: dict[str, Any] = {"inner": {}}
    model = Made.model_validate(raw)
    whole = completed(model, raw)
    assert set(whole) == {"theKey", "inner"}  # an empty list is always the same, and a secret must not be written
    assert Made.model_validate(whole).key == model.key
    assert Made.model_validate(whole).inner == model.inner
    assert raw == {"inner": {}}
