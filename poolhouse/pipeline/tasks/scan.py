"""Listings of objects by a filter: pages that stay in place while objects come and go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from poolhouse.pipeline.store import ObjectInfo, ObjectStore

#: Objects that one call looks at, at the most, before it answers with what it found and where to go on.
SCAN_LIMIT = 10_000

_T = TypeVar("_T")


@dataclass(frozen=True)
class Scanned(Generic[_T]):
    """What one call found, and the name of the object it ended with; None on the last page."""

    found: tuple[_T, ...]
    last: str | None


def scan(
    store: ObjectStore,
    prefix: str,
    *,
    read: Callable[[ObjectInfo], _T | None],
    filtered: bool,
    page_size: int,
    after: str | None,
) -> Scanned[_T]:
    """Return the objects below a prefix in the order of their names, those that `read` wants.

    Args:
        store: the bucket.
        prefix: the beginning of their names.
        read: returns what is to be known of an object; None where it is not wanted.
        filtered: whether `read` may leave out many.
        page_size: the most to return; fewer, even none, may come before the last page.
        after: the name of the object that the page before ended with.
    """
    found: list[_T] = []
    last = after
    scanned = 0
    while scanned < SCAN_LIMIT:
        # A filter may match few of many, and to list many at once costs an emulator no more than to list some.
        size = SCAN_LIMIT if filtered else page_size - len(found)
        # Two more: the last one of the page before, and one that tells whether there is a page after this one.
        listed = store.list(prefix, page_size=size + 2, start=last)
        for info in listed.objects:
            if info.name == last:
                continue  # the listing begins with the last one of the page before
            if len(found) == page_size or scanned == SCAN_LIMIT:
                return Scanned(tuple(found), last or "")
            scanned, last = scanned + 1, info.name
            entry = read(info)
            if entry is not None:
                found.append(entry)
        if listed.next_token is None:
            return Scanned(tuple(found), None)
    return Scanned(tuple(found), last or "")
