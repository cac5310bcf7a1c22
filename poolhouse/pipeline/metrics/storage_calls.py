"""A bucket whose calls are counted, timed and traced."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

from poolhouse.pipeline.errors import ObjectNotFound, PreconditionFailed
from poolhouse.pipeline.store import ObjectStore

#: The calls of a bucket.
OPERATIONS = tuple(name for name, value in vars(ObjectStore).items() if callable(value) and not name.startswith("_"))


class Observer(Protocol):
    """Who is told of storage calls: the metrics of a process, or its traces."""

    def storage_called(self, operation: str, *, name: str, outcome: str, duration_s: float) -> None:
        """Note a storage call that has ended just now; `name` is the object's, or a prefix."""


def observed(store: ObjectStore, *observers: Observer | None) -> ObjectStore:
    """Return the same bucket, whose calls the observers are told of; the bucket itself where there are none."""
    found = [observer for observer in observers if observer is not None]
    return cast(ObjectStore, _ObservedStore(store, found)) if found else store


class _ObservedStore:
    def __init__(self, store: ObjectStore, observers: Sequence[Observer]) -> None:
        self._store = store
        self._observers = observers
        for operation in OPERATIONS:
            setattr(self, operation, self._observed(operation, getattr(store, operation)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def _observed(self, operation: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            started_s, outcome = time.perf_counter(), "error"
            try:
                answer = call(*args, **kwargs)
                outcome = "ok"
            except ObjectNotFound:
                outcome = "not_found"
                raise
            except PreconditionFailed:
                outcome = "conflict"
                raise
            finally:
                duration_s = time.perf_counter() - started_s
                name = str(args[0]) if args else ""
                for observer in self._observers:
                    observer.storage_called(operation, name=name, outcome=outcome, duration_s=duration_s)
            return answer

        return timed
