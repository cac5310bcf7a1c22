"""What all tables of pipeline.toml have in common."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

NAME_PATTERN = r"^[a-z]([a-z0-9-]{0,28}[a-z0-9])?$"
#: What pipelines, queues, schedules and triggers are called.
Name = Annotated[str, Field(pattern=NAME_PATTERN)]


def is_name(text: str) -> bool:
    """Whether pipeline.toml could declare something of that name."""
    return re.fullmatch(NAME_PATTERN, text) is not None


class Table(BaseModel):
    """A table of the file: frozen, and an unknown field is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _as_toml_has_it(cls, value: object, info: ValidationInfo) -> object:
        """Refuse `true` and `"1_0"` where a number belongs, `1` and `"yes"` where `true` does: pydantic takes them."""
        kinds = set(_kinds(cls.model_fields[str(info.field_name)].annotation))
        if not isinstance(value, bool | int | float | str) or kinds & {type(value), Any, Literal}:
            return value
        if kinds & {int, float} and isinstance(value, bool | str):
            raise ValueError(f"must be a number, not {_written(value)}")
        if bool in kinds:
            raise ValueError(f"must be true or false, not {_written(value)}")
        return value


def _kinds(declared: Any) -> Iterator[Any]:
    """The types that a value may have; of a choice of values `Literal`."""
    origin = get_origin(declared)
    if origin is Annotated:
        yield from _kinds(get_args(declared)[0])
    elif origin in {Union, UnionType}:
        for part in get_args(declared):
            yield from _kinds(part)
    else:
        yield origin or declared


def _written(value: object) -> str:
    """A value as TOML has it."""
    return json.dumps(value, ensure_ascii=False)
