"""Shares of revisions: how a service's requests, or a pool's instances, are divided between releases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from poolhouse.cloud.resource import Command, Fields, Json, command, compare, flag

#: Everything goes to the newest revision, whichever that is.
LATEST = "newest revision"


@dataclass(frozen=True, kw_only=True)
class Shares:
    """How one service or pool is divided."""

    #: Percent of each revision that has some; `LATEST` for what follows the newest one.
    percent: Mapping[str, int]
    #: Name of the newest revision that is ready.
    newest: str

    @property
    def text(self) -> str:
        """The shares for a person: `LATEST`, or the percentage of each revision."""
        return _text(self.percent)

    @property
    def by_revision(self) -> Mapping[str, int]:
        """Percent of each revision, by its own name."""
        found: dict[str, int] = {}
        for name, percent in self.percent.items():
            revision = self.newest if name == LATEST else name
            found[revision] = found.get(revision, 0) + percent
        return found

    @property
    def stable(self) -> str:
        """Name of the revision that a canary is compared with: the largest older one, else the newest."""
        older = {name: percent for name, percent in self.by_revision.items() if name != self.newest}
        return max(older, key=lambda name: older[name], default=self.newest)


def of(item: Json) -> Shares:
    """The shares of a service or pool, as a listing shows it."""
    spec = item["spec"]
    parts = [part for part in spec.get("traffic") or spec.get("instanceSplits") or () if part.get("percent")]
    percent = {LATEST if part.get("latestRevision") else part["revisionName"]: int(part["percent"]) for part in parts}
    return Shares(
        percent=percent or {LATEST: 100}, newest=str(item.get("status", {}).get("latestReadyRevisionName", ""))
    )


@dataclass(frozen=True, kw_only=True)
class Canary:
    """The share that a new revision gets beside the present one."""

    #: Of the new revision, in percent.
    percent: int
    #: Name of the revision that has the rest.
    stable: str


@dataclass(frozen=True, kw_only=True)
class Division:
    """How the new revisions of one service or pool get their share."""

    #: The command that divides it, up to the shares: `run services update-traffic NAME --region=REGION`.
    divide: tuple[str, ...]
    #: The field that shows it in the plan.
    field: str
    #: The new revision's share; None: all.
    canary: Canary | None = None

    @property
    def wanted(self) -> str:
        """The field as wanted."""
        if self.canary is None:
            return LATEST
        return _text({self.canary.stable: 100 - self.canary.percent, LATEST: self.canary.percent})

    @property
    def splits(self) -> tuple[Json, ...]:
        """The shares as the declaration of a pool has them."""
        if self.canary is None:
            return ({"latestRevision": True, "percent": 100},)
        rest = {"revisionName": self.canary.stable, "percent": 100 - self.canary.percent}
        return (rest, {"latestRevision": True, "percent": self.canary.percent})

    def update(
        self, deploy: tuple[str, ...], *, hold: str, wanted: Fields, present: Fields | None
    ) -> tuple[Command, ...]:
        """Commands that deploy what differs and divide it as wanted.

        Args:
            deploy: arguments of the deploy command.
            hold: its flag that leaves a new revision without a share.
            wanted: all fields, as wanted.
            present: the same as they are; None: unknown.
        """
        there = present or {}
        deploys = (command(*deploy, *((hold,) if self.canary else ())),) if self.deploys(wanted, present) else ()
        # All that follows the newest revision goes to the next one too: then a deploy alone is enough.
        if self.canary is None and there.get(self.field, LATEST) == LATEST:
            return deploys
        return (*deploys, self.command())

    def deploys(self, wanted: Fields, present: Fields | None) -> bool:
        """Whether more differs than the shares."""
        return present is None or any(change.field != self.field for change in compare(wanted, present))

    def command(self) -> Command:
        """The command that divides it as wanted."""
        if self.canary is None:
            return command(*self.divide, "--to-latest")
        rest = f"{self.canary.stable}={100 - self.canary.percent}"
        return command(*self.divide, flag("to-revisions", f"LATEST={self.canary.percent},{rest}"))

    def back(self, stable: str) -> Command:
        """The command that gives everything to one revision."""
        return command(*self.divide, flag("to-revisions", f"{stable}=100"))


def _text(percent: Mapping[str, int]) -> str:
    if not percent.keys() - {LATEST}:
        return LATEST
    ordered = sorted(percent.items(), key=lambda share: (share[0] == LATEST, share[0]))
    return ", ".join(f"{share}% {name}" for name, share in ordered)
