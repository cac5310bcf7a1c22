"""What hooks have failed with in this process: logged once for each hook and method, then counted."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping

_lock = threading.Lock()
_failures: Counter[str] = Counter()


def failures() -> Mapping[str, int]:
    """How often hooks have failed in this process, by `module:Class.method`."""
    with _lock:
        return dict(_failures)


def failed(hook: object, method: str, error: BaseException) -> None:
    """Note a failure."""
    name = f"{type(hook).__module__}:{type(hook).__qualname__}.{method}"
    with _lock:
        _failures[name] += 1
        first = _failures[name] == 1
    if first:
        import structlog  # noqa: PLC0415 - handlers that run without a hook need no logger

        structlog.get_logger(__name__).error(
            "a hook failed: tasks go on without it, and further failures of it are only counted",
            hook=name,
            exc_info=error,
        )
