"""What all tables of pipeline.toml have in common."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

NAME_PATTERN = r"^[a-z]([a-z0-9-]{0,28}[a-z0-9])?$"
#: What pipelines, queues, schedules and triggers are called.
Name = Annotated[str, Field(pattern=NAME_PATTERN)]


def is_name(text: str) -> bool:
    """Whether pipeline.toml could declare something of that name."""
    return re.fullmatch(NAME_PATTERN, text) is not None


class Table(BaseModel):
    """A table of the file: frozen, and an unknown field is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")
