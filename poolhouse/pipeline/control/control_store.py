"""The decisions in the bucket: one object for all queues, so that a look costs one call however many there are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import ValidationError

from poolhouse.pipeline import names
from poolhouse.pipeline.control.state import NOTHING, QueueControl
from poolhouse.pipeline.errors import ConfigError, Conflict, ObjectNotFound, PreconditionFailed
from poolhouse.pipeline.store import ABSENT, ObjectStore

#: Times that a change is tried again because another process made one in between.
_TRIES = 10


@dataclass(frozen=True)
class Known:
    """What was read, and the generation it was read at."""

    control: QueueControl = NOTHING
    generation: int = ABSENT


class ControlStore:
    """Reads and changes the decisions. Every call may raise `StoreUnavailable`."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def read(self) -> Known:
        """Return the present decisions. Raises `ConfigError`: the object is of another version."""
        try:
            data, info = self._store.get(names.QUEUE_CONTROL)
        except ObjectNotFound:
            return Known()
        return Known(parse(data), info.generation)

    def look(self, known: Known) -> Known:
        """Return the present decisions: one small call, and a second one only where they changed."""
        try:
            changed = self._store.stat(names.QUEUE_CONTROL).generation != known.generation
        except ObjectNotFound:
            return Known()
        return self.read() if changed else known

    def change(self, change: Callable[[QueueControl], QueueControl]) -> QueueControl:
        """Decide something; returns the decisions after it.

        Args:
            change: returns the new decisions, or those it got where nothing changes, which costs no write.

        Raises:
            Conflict: other processes change them all the time; and whatever `change` raises.
        """
        for _ in range(_TRIES):
            known = self.read()
            control = change(known.control)
            if control == known.control:
                return control
            try:
                self._store.put(names.QUEUE_CONTROL, control.model_dump_json().encode(), if_generation=known.generation)
            except PreconditionFailed:
                continue
            return control
        raise Conflict("other calls change the queues all the time: try again in a moment")


def parse(data: bytes) -> QueueControl:
    """Read the object. Raises `ConfigError`: it is of another version."""
    try:
        return QueueControl.model_validate_json(data)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise ConfigError(
            f"{names.QUEUE_CONTROL} can't be read ({problem['msg']}): delete the object, which resumes all queues"
        ) from None
