"""A bucket whose calls are counted and timed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

from poolhouse.pipeline.errors import ObjectNotFound, PreconditionFailed
from poolhouse.pipeline.metrics.process_metrics import ProcessMetrics
from poolhouse.pipeline.store import ObjectStore

#: The calls of a bucket.
OPERATIONS = tuple(name for name, value in vars(ObjectStore).items() if callable(value) and not name.startswith("_"))


def counted(store: ObjectStore, metrics: ProcessMetrics | None) -> ObjectStore:
    """Return the same bucket, whose calls the metrics count; the bucket itself where there are no metrics."""
    return store if metrics is None else cast(ObjectStore, _CountedStore(store, metrics))


class _CountedStore:
    def __init__(self, store: ObjectStore, metrics: ProcessMetrics) -> None:
        self._store = store
        self._metrics = metrics
        for operation in OPERATIONS:
            setattr(self, operation, self._counted(operation, getattr(store, operation)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def _counted(self, operation: str, call: Callable[..., Any]) -> Callable[..., Any]:
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
                self._metrics.storage_called(operation, outcome=outcome, duration_s=duration_s)
            return answer

        return timed
