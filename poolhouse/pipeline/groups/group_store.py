"""Groups in the bucket: `groups/ID/group.json`, written once, and once more where it is closed later or cancelled."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import TypeVar

from pydantic import ValidationError

from poolhouse.pipeline import names
from poolhouse.pipeline.errors import Conflict, GroupNotFound, ObjectNotFound, PreconditionFailed, StoreUnavailable
from poolhouse.pipeline.groups.group import Group
from poolhouse.pipeline.store import ABSENT, ObjectStore

#: Times that a change is made anew, because another process wrote the group in between.
_TRIES = 10
#: Groups read at the same time.
_AT_A_TIME = 8
#: Groups remembered at the most.
_REMEMBERED = 256
#: How long a worker may believe that a group has not been cancelled.
_UNCANCELLED_FOR = timedelta(seconds=2)
_T = TypeVar("_T")


class GroupStore:
    """The groups of a deployment. Every call may raise `StoreUnavailable`. Thread-safe."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        #: Closed groups, read before: what the end of a member needs of them does not change.
        self._closed: dict[str, Group] = {}
        #: When a group was last seen not cancelled.
        self._uncancelled: dict[str, datetime] = {}

    def newest(self, *, most: int, after: str | None = None) -> tuple[list[Group], str | None]:
        """Return the newest groups, the newest first: one list call, and a read for each.

        Args:
            most: how many; one that expires meanwhile is left out.
            after: the last one of the page before.

        Returns:
            The groups, and the `after` of the next page; None if there is none.
        """
        start = None if after is None else f"{names.GROUPS}{after}0"  # 0 is the character after /
        folders = self._store.folders(names.GROUPS, most=most + 1, start=start)
        ids = [folder.removeprefix(names.GROUPS).rstrip("/") for folder in folders]
        with ThreadPoolExecutor(_AT_A_TIME, thread_name_prefix="groups") as threads:
            found = [group for group in threads.map(self._find, ids[:most]) if group is not None]
        return found, ids[most - 1] if len(ids) > most else None

    def _find(self, group_id: str) -> Group | None:
        try:
            return self.read(group_id)
        except GroupNotFound:
            return None

    def read(self, group_id: str) -> Group:
        """Return the group as it is now. Raises `GroupNotFound`."""
        return self._read(group_id)[0]

    def closed(self, group_id: str) -> Group:
        """Return the group; one whose members are all added perhaps as it was before it was cancelled.

        Raises `GroupNotFound`.
        """
        group = self._closed.get(group_id)
        if group is None:
            group = self.read(group_id)
            if group.size is not None:
                _remember(self._closed, group_id, group)
        return group

    def cancelled(self, group_id: str, *, now: datetime, fresh: bool) -> bool:
        """Whether a group is cancelled.

        Args:
            fresh: look now; else an answer may be two seconds old.
        """
        seen = self._uncancelled.get(group_id)
        if not fresh and seen is not None and abs(now - seen) < _UNCANCELLED_FOR:
            return False
        try:
            cancelled = self.read(group_id).cancelled_at is not None
        except GroupNotFound:
            return False
        if not cancelled:
            _remember(self._uncancelled, group_id, now)
        return cancelled

    def create(self, group: Group) -> Group:
        """Keep a group, unless there is one of that id; return the one that is kept."""
        try:
            self._store.put(names.group(group.group_id), _encoded(group), if_generation=ABSENT)
        except PreconditionFailed:
            return self.read(group.group_id)
        return group

    def change(self, group_id: str, change: Callable[[Group], Group]) -> Group:
        """Change a group; one that `change` returns as it is, is not written.

        Raises:
            GroupNotFound: there is none.
            Conflict: it changes all the time; and whatever `change` raises.
        """
        for _ in range(_TRIES):
            found, generation = self._read(group_id)
            changed = change(found)
            if changed == found:
                return found
            try:
                self._store.put(names.group(group_id), _encoded(changed), if_generation=generation)
            except PreconditionFailed:
                continue
            return changed
        raise Conflict(f"group {group_id} changes all the time: try again in a moment")

    def _read(self, group_id: str) -> tuple[Group, int]:
        try:
            data, info = self._store.get(names.group(group_id))
            return Group.model_validate_json(data), info.generation
        except ObjectNotFound:
            raise GroupNotFound(f"there is no group {group_id}, or it has expired") from None
        except ValidationError as error:
            raise StoreUnavailable(
                f"{names.group(group_id)} is not a valid group: mend or delete it ({error})"
            ) from None


def _encoded(group: Group) -> bytes:
    return group.model_dump_json(exclude_none=True).encode()


def _remember(known: dict[str, _T], group_id: str, value: _T) -> None:
    if len(known) >= _REMEMBERED:
        known.clear()
    known[group_id] = value
