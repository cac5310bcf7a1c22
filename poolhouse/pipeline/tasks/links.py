"""What a task is linked with: what submitted it, the group that it belongs to, and what follows its end.

Links travel in the message's body, under one reserved name, and are kept in the record. A plain task has none. No call
of the API takes them as they are, so what they say of a task's origin is the pipeline's own word.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from poolhouse.pipeline import json_values
from poolhouse.pipeline.errors import InvalidValue


class Link(BaseModel):
    """A task that follows another one."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    task_type: str
    queue: str
    payload: dict[str, Any] = {}
    #: The payload's field that takes what came before: the result, or what is known of the failure.
    into: str | None = None


class Links(BaseModel):
    """What a task is linked with."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    #: The task that submitted it, or whose end it follows.
    parent_id: str | None = None
    trigger: str | None = Field(default=None, description="The trigger of pipeline.toml that submitted it, for a file.")
    schedule: str | None = Field(default=None, description="The schedule of pipeline.toml that submitted it.")
    #: The group that it belongs to.
    group_id: str | None = None
    #: Its place among the group's members; None where it follows the end of the group.
    group_index: int | None = None
    #: What follows its success: the first task of the chain, which is handed the others.
    then: tuple[Link, ...] | None = None
    #: What follows where it, or a later task of the chain, fails for good.
    on_failure: Link | None = None


class Planned(Link):
    """A task that is not submitted yet, with what follows it."""

    then: tuple[Link, ...] | None = None
    on_failure: Link | None = None


def links_of(linked: Links) -> Links | None:
    """The links of a record; None if it has none."""
    fields = {name: value for name in Links.model_fields if (value := getattr(linked, name)) is not None}
    return Links(**fields) if fields else None


def handed(link: Link, value: Any) -> dict[str, Any]:
    """The payload of a task that is handed what came before.

    Raises:
        InvalidValue: the link names no field for it, and it is no object whose members could be the fields.
    """
    if link.into is not None:
        return {**link.payload, link.into: value}
    if isinstance(value, dict):
        return {**value, **link.payload}
    kind = "null" if value is None else f"a JSON {type(value).__name__}"
    raise InvalidValue(
        f"{link.task_type} takes the fields of a result that is an object, and this one is {kind}: return a model, or "
        f"name the field that takes it ({link.task_type}.ref(into=…))"
    )


def chain_problem(linked: Links, encoded: bytes, *, max_bytes: int) -> str | None:
    """Why a result can't be handed to the next task of the chain; None if it can, or there is none.

    Args:
        linked: the record of the task that returned it.
        encoded: the result, as JSON.
        max_bytes: the size of a payload, as JSON, at the most.
    """
    if not linked.then:
        return None
    following = linked.then[0]
    try:
        payload = handed(following, json_values.parse(encoded))
    except InvalidValue as error:
        return f"its result can't be handed on: {error}"
    if len(json_values.encode(payload, what="the payload")) > max_bytes:
        too_large = f"the payload of {following.task_type} would have more than {max_bytes:,} bytes"
        return f"its result can't be handed on: {too_large}"
    return None
