"""What may go wrong with the local stack."""

from __future__ import annotations

from poolhouse.pipeline.errors import PoolhouseError


class StackError(PoolhouseError):
    """The stack could not be started, or a call to it failed; the text says why and what to do."""


class NoStack(StackError):
    """No stack is up."""

    def __init__(self) -> None:
        super().__init__("no stack is up: start one with ./invoke up")
