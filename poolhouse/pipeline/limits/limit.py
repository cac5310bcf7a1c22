"""The limit that a task type declares for all workers together."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.limits.rate import Rate, parse_rate


class Limit(BaseModel):
    """How many tasks of a type may run, and be started, by all workers of the deployment together."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Attempts started in any span of time, such as `10/s` (s, m, h); None: no limit.
    rate: str | None = None
    #: Attempts at the same time; None: no limit.
    max_concurrency: int | None = Field(default=None, ge=1, le=100_000)
    #: Field of the payload, or several: tasks with equal values share a limit. Empty: one limit for the whole type.
    key: tuple[str, ...] = ()

    @field_validator("rate")
    @classmethod
    def _readable(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                parse_rate(value)
            except ConfigError as error:
                raise ValueError(str(error)) from None
        return value

    @field_validator("key", mode="before")
    @classmethod
    def _fields(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else () if value is None else value

    @model_validator(mode="after")
    def _limits_something(self) -> Limit:
        if self.rate is None and self.max_concurrency is None:
            raise ValueError('give rate="10/s", max_concurrency=5 or both')
        if len(set(self.key)) != len(self.key):
            raise ValueError("key names a field twice")
        return self

    @property
    def parsed_rate(self) -> Rate | None:
        """The rate as a number and a span."""
        return None if self.rate is None else parse_rate(self.rate)
