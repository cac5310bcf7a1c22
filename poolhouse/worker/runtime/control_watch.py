"""Watch what is decided about the queues: one look a second for a whole worker process, however many queues it has."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from poolhouse.pipeline.control.control_store import ControlStore, Known
from poolhouse.pipeline.control.state import QueueControl
from poolhouse.pipeline.errors import ConfigError, StoreUnavailable

#: Seconds between two looks: a look is one call that reads no object (Cloud Storage, class B).
LOOK_S = 1.0

_log = structlog.get_logger(__name__)


class ControlWatch:
    """Knows the decisions as they were at the last look. While storage does not answer, they stay as they were."""

    def __init__(
        self, store: ControlStore, *, on_change: Callable[[QueueControl], None], look_s: float = LOOK_S
    ) -> None:
        """Nothing is read yet.

        Args:
            store: the decisions.
            on_change: called on the watching thread with each new version.
            look_s: pause between two looks, in seconds.
        """
        self._store = store
        self._on_change = on_change
        self._look_s = look_s
        self._known = Known()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="queue-control", daemon=True)

    def __call__(self) -> QueueControl:
        """Return the decisions; calls nothing."""
        return self._known.control

    def look(self) -> QueueControl:
        """Read them where they have changed. Raises `StoreUnavailable`, `ConfigError`."""
        self._known = self._store.look(self._known)
        return self._known.control

    @property
    def alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to look, again and again."""
        self._thread.start()

    def stop(self) -> None:
        """End; does not wait for a look that is under way."""
        self._stopping.set()

    def _run(self) -> None:
        problem = ""
        while not self._stopping.wait(self._look_s):
            before = self()
            try:
                if self.look() != before:
                    self._on_change(self())
                problem = ""
            except (StoreUnavailable, ConfigError) as error:
                if str(error) != problem:
                    problem = str(error)
                    _log.warning("pauses and bulk cancels stay as they were", error=problem)
            except Exception:  # noqa: BLE001 - the next pause must be seen after one mistake of ours
                _log.exception("a change of the queues could not be followed")
