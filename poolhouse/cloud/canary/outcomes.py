"""What became of requests and attempts, counted from the log lines of revisions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from poolhouse.cloud.resource import Json, Read, flag

#: How many lines of a release are counted, the newest first: as many as one request to Cloud Logging returns.
LINES = 1_000
#: Outcomes of attempts that count as failures. A task that was cancelled or handed over is neither success nor failure.
_FAILED, _SUCCEEDED = frozenset({"retried", "failed", "dead"}), frozenset({"succeeded"})


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """Requests that were answered, or attempts that ended."""

    ended: int = 0
    failed: int = 0

    @property
    def rate(self) -> float:
        """The share that failed."""
        return self.failed / self.ended if self.ended else 0.0

    def __str__(self) -> str:
        """As a person reads them."""
        return f"{self.failed:,} of {self.ended:,} failed ({100 * self.rate:.1f}%)"


def read(revisions: Iterable[str], *, message: str, since: datetime) -> Read:
    """How the newest lines of some revisions are read.

    Args:
        revisions: names.
        message: `request`, which the API writes for each call; `task ended`, which workers write for each attempt.
        since: no older lines.
    """
    names = " OR ".join(f'"{name}"' for name in revisions)
    when = since.isoformat(timespec="seconds").replace("+00:00", "Z")
    condition = f'resource.labels.revision_name=({names}) AND jsonPayload.message="{message}" AND timestamp>="{when}"'
    return Read(
        arguments=("logging", "read", condition, flag("limit", LINES), flag("order", "desc")),
        api="logging.googleapis.com",
    )


def count(entries: Json) -> Mapping[str, Outcomes]:
    """The outcomes in log entries, by the name of the revision."""
    found: dict[str, Outcomes] = {}
    for entry in entries or ():
        failed = _failed(entry.get("jsonPayload") or {})
        if failed is not None:
            revision = entry["resource"]["labels"]["revision_name"]
            before = found.get(revision, Outcomes())
            found[revision] = Outcomes(ended=before.ended + 1, failed=before.failed + failed)
    return found


def _failed(payload: Json) -> bool | None:
    """Whether a line is about a failure; None where it does not count."""
    if "status" in payload:
        return int(payload["status"]) >= 500
    outcome = payload.get("outcome")
    return outcome in _FAILED if outcome in _FAILED | _SUCCEEDED else None
