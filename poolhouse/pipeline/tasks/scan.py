"""Listings of objects by a filter: pages that stay in place while objects come and go."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from poolhouse.pipeline.store import ObjectInfo, ObjectStore

#: Objects that one call looks at, at the most, before it answers with what it found and where to go on.
SCAN_LIMIT = 10_000

_T = TypeVar("_T")


@dataclass(frozen=True)
class Scanned(Generic[_T]):
    """What one call found, and the name that it ended with; None on the last page."""

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
        read: called with an object; returns what is to be known of it, None where it is not wanted.
        filtered: whether `read` may leave out many.
        page_size: the most to return; fewer, even none, may come before the last page.
        after: the name that the page before ended with.
    """
    found: list[_T] = []
    last = after
    scanned = 0
    # A filter may match few of many, and to list many at once costs an emulator no more than to list some. Two more:
    # the last one of the page before, and one that tells whether there is a page after this one.
    at_once = (SCAN_LIMIT if filtered else page_size) + 2
    for info in _objects(store, prefix, start=after, at_once=at_once, timeout_s=None):
        if info.name == after:
            continue  # the listing begins with the last one of the page before
        if len(found) == page_size or (scanned >= SCAN_LIMIT and filtered):
            return Scanned(tuple(found), last)
        scanned, last = scanned + 1, info.name
        wanted = read(info)
        if wanted is not None:
            found.append(wanted)
    return Scanned(tuple(found), None)


def entries(
    store: ObjectStore,
    prefix: str,
    *,
    at_once: int,
    entry_of: Callable[[str], str],
    start: str | None = None,
    timeout_s: float | None = None,
) -> Iterator[tuple[str, Iterator[ObjectInfo]]]:
    """Yield all entries below a prefix with their objects, which are to be read before the next entry is.

    Args:
        store: the bucket.
        prefix: the beginning of their names.
        at_once: objects to ask for in a list call; Cloud Storage answers with 1,000 at the most, emulators with all.
        entry_of: the entry that the object of a name belongs to: the first name that one of its objects may have. All
            of them are listed in a row.
        start: the first name that may be listed.
        timeout_s: the longest that a list call may take; None: as long as any other.
    """
    infos = _objects(store, prefix, start=start, at_once=at_once, timeout_s=timeout_s)
    return itertools.groupby(infos, key=lambda info: entry_of(info.name))


def _objects(
    store: ObjectStore, prefix: str, *, start: str | None, at_once: int, timeout_s: float | None
) -> Iterator[ObjectInfo]:
    token: str | None = None
    while True:
        page = store.list(prefix, page_size=at_once, page_token=token, start=start, timeout_s=timeout_s)
        yield from page.objects
        token = page.next_token
        if token is None:
            return
