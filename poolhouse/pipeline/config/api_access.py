"""Who may call an API that everybody can reach: what a deploy declares, and what the API reads of it."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from pydantic import Field

from poolhouse.pipeline.config.base import Name, Table

#: What a caller may do. `read`: all GET calls. `submit`: submit tasks and upload files. `operate`: everything. Each of
#: them includes following a single task or group by its id.
Scope = Literal["read", "submit", "operate"]
#: Calls in a minute.
PerMinute = Annotated[int, Field(ge=1, le=100_000)]
#: Calls in a day.
PerDay = Annotated[int, Field(ge=1, le=1_000_000_000)]
#: Who called, where that was without a key.
ANONYMOUS = "anonymous"


def digest(key: str) -> str:
    """Return what is kept of a key. A key is random, and long enough that its hash can't be reversed by trying."""
    return hashlib.sha256(key.encode()).hexdigest()


def caller(holder: str) -> str:
    """Return what the holder of a key is called in the log."""
    return f"key {holder}"


class ApiKey(Table):
    """An API key."""

    #: SHA-256 of the key, as `./invoke new-key` prints it. The key itself is kept nowhere.
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    #: What its holder may do: `read`, `submit` or `operate`, or several.
    may: tuple[Scope, ...] = Field(min_length=1)
    #: Most calls in a minute, of each instance of the API, or of all together (`share_rates`); left out: any number.
    per_minute: PerMinute | None = None
    #: Most calls in a UTC day, of all instances of the API together; left out: any number.
    per_day: PerDay | None = None


class ApiAccess(Table):
    """The rules of one deployment, as the variable API_ACCESS carries them."""

    #: What callers without a key may do; None: nothing.
    anonymous: Scope | None = None
    #: Most calls in a minute of all callers without a key together.
    anonymous_per_minute: PerMinute | None = None
    #: Most calls in a UTC day of all callers without a key together.
    anonymous_per_day: PerDay | None = None
    #: Whether the instances share the calls in a minute.
    share_rates: bool = False
    #: The keys, by the names of their holders.
    keys: dict[Name, ApiKey] = Field(default_factory=dict)
    #: The service account whose Google-signed tokens may report due times, and no more.
    scheduler: str = ""
    #: The service account of the deployed console, whose tokens may do everything: the console checks who acts.
    console: str = ""
    #: The audience of those tokens: the API's own URL.
    audience: str = ""

    @property
    def quotas(self) -> dict[str, int]:
        """The most calls in a day, by the callers that have such a quota."""
        return self._numbers("per_day", self.anonymous_per_day)

    @property
    def shared_rates(self) -> dict[str, int]:
        """The most calls in a minute of all instances together, by the callers for whom they count so."""
        return self._numbers("per_minute", self.anonymous_per_minute) if self.share_rates else {}

    def _numbers(self, field: Literal["per_minute", "per_day"], anonymous: int | None) -> dict[str, int]:
        declared = {ANONYMOUS: anonymous, **{caller(name): getattr(key, field) for name, key in self.keys.items()}}
        return {name: number for name, number in declared.items() if number is not None}
