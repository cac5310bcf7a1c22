"""The rule by which a task is unique: what its type, or the call that submits it, declares."""

from __future__ import annotations

from typing import Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_validator, model_validator

from poolhouse.pipeline.timing.delays import LONGEST_WAIT_S

#: The values of `records.Status`, which `import poolhouse` need not load.
TaskStatus = Literal["scheduled", "queued", "running", "succeeded", "failed", "cancelled", "dead"]
#: Statuses of a task that no worker has begun, or that waits for its next attempt.
WAITING: tuple[TaskStatus, ...] = ("scheduled", "queued")


class Unique(BaseModel):
    """When a task is the same as another, and what becomes of the second.

    Two tasks of a type are the same where the payload fields `by` have equal values. The first has the key while its
    status is one of `while_` and, where `within_s` is given, for so long since it was submitted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Field of the payload, or several; none: all tasks of the type are the same.
    by: tuple[str, ...] = ()
    #: Seconds from its submit for which a task has the key; None: as long as its status says.
    within_s: float | None = Field(default=None, strict=True, gt=0, le=LONGEST_WAIT_S)
    #: Statuses in which a task has the key; None: scheduled, queued and, but for `replace`, running.
    while_: tuple[TaskStatus, ...] | None = Field(
        default=None, min_length=1, validation_alias=AliasChoices("while", "while_")
    )
    #: `return`: answer with the first task; `reject`: an error that names it; `replace`: cancel it, submit the second.
    on_conflict: Literal["return", "reject", "replace"] = "return"
    #: Seconds that a task waits for another that replaces it: of many submits the last one runs. With `replace` only.
    debounce_s: float | None = Field(default=None, strict=True, gt=0, le=LONGEST_WAIT_S)

    @field_validator("by", mode="before")
    @classmethod
    def _fields(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fits(self) -> Unique:
        if len(set(self.by)) != len(self.by):
            raise ValueError("by names a field twice")
        if self.on_conflict == "replace" and not set(self.statuses) <= set(WAITING):
            raise ValueError("while: a task can be replaced while it is scheduled or queued, not later")
        if self.debounce_s is not None and self.on_conflict != "replace":
            raise ValueError('debounce_s: of many submits the last one runs, so it needs on_conflict "replace"')
        return self

    @property
    def statuses(self) -> tuple[TaskStatus, ...]:
        """Those of `while_`, or their default."""
        if self.while_ is not None:
            return self.while_
        return WAITING if self.on_conflict == "replace" else (*WAITING, "running")
