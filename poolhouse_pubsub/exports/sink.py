"""What an export subscription needs of the place it writes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from poolhouse_pubsub.core.message import Message


class ExportError(Exception):
    """Messages that could not be written.

    Args:
        state: Name of the `State` that the config shows from here on.
        message: What failed, for the log and the dead letter.
    """

    def __init__(self, state: str, message: str) -> None:
        super().__init__(message)
        self.state = state


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """When a batch is written."""

    #: Once its first message has waited that long.
    seconds: float
    #: Once it has so many messages; 0 for no limit.
    messages: int = 0
    #: Once their data has so many bytes; 0 for no limit.
    size_bytes: int = 0


class Sink(Protocol):
    """The destination of one subscription."""

    limits: BatchLimits

    def check(self) -> None:
        """Raise an ExportError unless the destination is there; blocking."""

    def write(self, messages: Sequence[Message]) -> Mapping[int, str]:
        """Write messages; blocking.

        Returns:
            Why some did not fit, by their place; the others are written.

        Raises:
            ExportError: None is written.
        """
