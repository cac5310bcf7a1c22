"""The objects of quotas: one for each caller, window and instance of the API, `quotas/WINDOW/CALLER/INSTANCE`.

What they say is in their metadata, so a listing has it. Nothing deletes them but the bucket's lifecycle.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import structlog

from poolhouse.pipeline import names, numbers
from poolhouse.pipeline.errors import PreconditionFailed
from poolhouse.pipeline.limits.reservation import Count
from poolhouse.pipeline.store import ABSENT, ObjectInfo, ObjectStore

#: More is no count of calls.
_MOST_DIGITS = 12

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Counts:
    """What the objects of one quota say."""

    mine: Count
    #: Generation of this instance's object; `ABSENT` where there is none.
    generation: int
    others: tuple[Count, ...]


class QuotaStore:
    """The counts of a deployment. Every call may raise `StoreUnavailable`. Thread-safe."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def exchange(self, window: str, caller: str, instance: str, count: Count | None, *, generation: int) -> Counts:
        """Write what an instance counts, then return what all say.

        A write that is refused is no error: what the listing says is what counts.

        Args:
            count: what to write; None: nothing.
            generation: of the instance's object, as it was last seen.
        """
        name = names.quota(window, caller, instance)
        if count is not None:
            said = {"used": str(count.used), "reserved": str(count.reserved)}
            try:
                self._store.put(name, b"{}", metadata=said, if_generation=generation)
            except PreconditionFailed:
                _log.debug("an earlier write of a count took effect after all", object=name)
        mine, found, others = Count(), ABSENT, []
        for info in self._listed(names.quota(window, caller)):
            if info.name == name:
                mine, found = _count(info), info.generation
            else:
                others.append(_count(info))
        return Counts(mine, found, tuple(others))

    def totals(self, window: str, callers: Iterable[str]) -> dict[str, Count]:
        """Return what callers have used in a window, and what is reserved for them, all instances together."""
        found = {names.quota(window, caller): Count() for caller in callers}
        callers_of = {names.quota(window, caller): caller for caller in callers}
        for info in self._listed(names.quota(window)):
            folder = info.name[: info.name.rfind("/") + 1]
            if folder in found:
                count, before = _count(info), found[folder]
                found[folder] = Count(before.used + count.used, before.reserved + count.reserved)
        return {callers_of[folder]: count for folder, count in found.items()}

    def _listed(self, prefix: str) -> Iterator[ObjectInfo]:
        token: str | None = None
        while True:
            page = self._store.list(prefix, page_token=token)
            yield from page.objects
            token = page.next_token
            if token is None:
                return


def _count(info: ObjectInfo) -> Count:
    """What an object says; nothing where it is none of ours."""
    used, reserved = (numbers.digits(info.metadata.get(name, ""), most=_MOST_DIGITS) for name in ("used", "reserved"))
    if used is None or reserved is None:
        _log.warning("an object below quotas/ is no count of calls: it is ignored", object=info.name)
        return Count()
    return Count(used, max(used, reserved))
