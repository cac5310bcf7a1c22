"""The objects of the limits: one for each task type and key that has been in use.

What nothing uses any more is written once more, empty, and left to the bucket's lifecycle. A delete would have to be
conditional, since another process may just have joined, and emulators delete whatever the precondition says.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import structlog
from pydantic import ValidationError

from poolhouse.pipeline import names
from poolhouse.pipeline.errors import ObjectNotFound, StoreUnavailable
from poolhouse.pipeline.limits import shares
from poolhouse.pipeline.limits.shares import Kind, LimitState
from poolhouse.pipeline.store import ABSENT, ObjectInfo, ObjectStore

#: Metadata of an object that says nothing: listings pass over it without reading it.
_UNUSED = {"unused": "true"}
#: Objects listed by one call.
_PAGE = 1000

_log = structlog.get_logger(__name__)


def object_name(task_type: str, kind: Kind, key: Mapping[str, Any]) -> str:
    """The name of a limit's object."""
    text = json.dumps(key, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return names.limit(task_type, kind, hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:40])


class LimitStore:
    """The limits of a deployment. Every call may raise `StoreUnavailable`. Thread-safe."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def read(self, name: str) -> tuple[LimitState | None, int]:
        """A limit's state and generation; None and `ABSENT` where there is no object.

        Raises:
            StoreUnavailable: storage did not answer, or the object is none of ours.
        """
        try:
            data, info = self._store.get(name)
        except ObjectNotFound:
            return None, ABSENT
        try:
            return LimitState.model_validate_json(data), info.generation
        except ValidationError as error:
            raise StoreUnavailable(f"{name} is not a valid state of a limit: delete it while no worker runs") from error

    def write(self, name: str, state: LimitState, *, if_generation: int) -> int:
        """Write a limit's state; returns the generation.

        Raises:
            PreconditionFailed: another process wrote first.
            StoreUnavailable: storage did not answer; the write may have taken effect all the same.
        """
        data = state.model_dump_json(exclude_defaults=True).encode()
        return self._store.put(name, data, metadata=_UNUSED if state.empty else None, if_generation=if_generation)

    def in_use(self, *, most: int, now: datetime) -> tuple[list[LimitState], bool]:
        """The first limits in use, by type and key, and whether there are more than `most`; reads each.

        What only processes that are gone have had is not in use: their objects stay until the next one needs the limit.
        """
        found: list[LimitState] = []
        for info in self._used():
            if len(found) == most:
                return found, True
            try:
                state, _ = self.read(info.name)
            except StoreUnavailable as error:
                if not isinstance(error.__cause__, ValidationError):
                    raise
                _log.warning("a limit can't be shown", limit=info.name, error=str(error))
                continue
            state = None if state is None else shares.current(state, now=now)
            found += [state] if state is not None and not state.empty else []
        return found, False

    def _used(self) -> Iterator[ObjectInfo]:
        """The objects that say something, as listed."""
        token: str | None = None
        while True:
            page = self._store.list(names.LIMITS, page_size=_PAGE, page_token=token)
            yield from (info for info in page.objects if info.metadata != _UNUSED)
            token = page.next_token
            if token is None:
                return
