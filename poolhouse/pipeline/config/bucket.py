"""What pipeline.toml says of the bucket: `[bucket]`, `[payloads]`, `[index]`."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from poolhouse.pipeline.config.base import Table
from poolhouse.pipeline.tasks.large_values import INLINE_BYTES

LifecyclePrefix = Literal[
    "uploads",
    "processed",
    "results",
    "tasks",
    "dead-letters",
    "idempotency",
    "payloads",
    "groups",
    "limits",
    "quotas",
    "unique",
    "index",
]


class Bucket(Table):
    """The bucket's lifecycle."""

    #: By prefix, days after which its objects are deleted; an unnamed prefix is kept for ever.
    lifecycle_days: dict[LifecyclePrefix, Annotated[int, Field(strict=True, ge=1, le=36_500)]] = Field(
        default_factory=dict
    )

    def keeps(self, prefix: LifecyclePrefix) -> timedelta | None:
        """How long an object is kept after it was last written; None for ever."""
        days = self.lifecycle_days.get(prefix)
        return None if days is None else timedelta(days=days)

    @model_validator(mode="after")
    def _payloads_outlive_letters(self) -> Self:
        payloads, letters = self.lifecycle_days.get("payloads"), self.lifecycle_days.get("dead-letters")
        if payloads is not None and (letters is None or payloads < letters):
            kept = "for ever" if letters is None else f"for {letters} days"
            raise ValueError(f"lifecycle_days: payloads go after {payloads} days, but dead letters are kept {kept}")
        return self


class Payloads(Table):
    """How large payloads may be, and from when on they are objects of the bucket instead of parts of their messages."""

    #: Bytes, as JSON, up to which a payload travels in its message and is kept in its task's record. A larger one is
    #: written to the bucket once, and message and record refer to it. A message holds 10 MB, its attributes included.
    inline_bytes: int = Field(default=INLINE_BYTES, ge=1000, le=9_900_000)
    #: Longest body of a request to the API, in bytes, and so the largest payload. An instance of the API holds bodies
    #: of this many bytes at the same time, and takes up to thirteen times as much memory for them (`memory_mib` of
    #: `[deploy.api]`). Cloud Run takes requests of 32 MiB.
    max_bytes: int = Field(default=20_000_000, ge=100_000, le=256_000_000)

    @model_validator(mode="after")
    def _inline_before_most(self) -> Self:
        if self.inline_bytes > self.max_bytes:
            raise ValueError(f"inline_bytes ({self.inline_bytes}) is above max_bytes ({self.max_bytes})")
        return self


class Index(Table):
    """The index of tasks, which listings and figures are made of (docs/task-index.md)."""

    #: Least time between two writes of one process to it, in seconds: how old a listing may be, and what it costs.
    write_interval_s: float = Field(default=2.0, ge=1, le=3600)
