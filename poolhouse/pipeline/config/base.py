"""What all tables of pipeline.toml have in common."""

from __future__ import annotations

import re
from typing import Annotated, get_args

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
    def _no_boolean_as_a_number(cls, value: object, info: ValidationInfo) -> object:
        """Refuse `true` where a number belongs: pydantic takes it for 1."""
        declared = cls.model_fields[str(info.field_name)].annotation
        kinds = get_args(declared) or (declared,)
        if isinstance(value, bool) and bool not in kinds and (int in kinds or float in kinds):
            raise ValueError(f"must be a number, not {str(value).lower()}")
        return value
