"""The objects of the limits: one for each task type and key in use, gone when nothing uses it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import structlog
from pydantic import ValidationError

from poolhouse.pipeline import names
from poolhouse.pipeline.errors import ObjectNotFound, StoreUnavailable
from poolhouse.pipeline.limits.shares import Kind, LimitState
from poolhouse.pipeline.store import ABSENT, ObjectStore

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
        """A limit's state and generation; None and `ABSENT` where nothing uses it.

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
            raise StoreUnavailable(f"{name} is no limit's state: delete it while no worker runs") from error

    def write(self, name: str, state: LimitState, *, if_generation: int) -> int:
        """Write a limit's state, or delete its object where it says nothing; returns the generation.

        Raises:
            PreconditionFailed: another process wrote first.
            StoreUnavailable: storage did not answer; the write may have taken effect all the same.
        """
        if not state.empty:
            data = state.model_dump_json(exclude_defaults=True).encode()
            return self._store.put(name, data, if_generation=if_generation)
        if if_generation != ABSENT:
            self._store.delete(name, if_generation=if_generation)
        return ABSENT

    def in_use(self, *, most: int) -> tuple[list[LimitState], bool]:
        """The first limits in use, by type and key, and whether there are more than `most`; reads each."""
        page = self._store.list(names.LIMITS, page_size=most)
        found: list[LimitState] = []
        for info in page.objects:
            try:
                state, _ = self.read(info.name)
            except StoreUnavailable as error:
                if not isinstance(error.__cause__, ValidationError):
                    raise
                _log.warning("a limit can't be shown", limit=info.name, error=str(error))
                continue
            found += [state] if state is not None else []
        return found, page.next_token is not None
