"""Counting what a property test accepted and rejected: one that rejects everything proves nothing."""

from __future__ import annotations

from types import TracebackType


class Tally:
    """As a context manager: counts a block that ends well as accepted, and one that raises `rejection` as rejected."""

    def __init__(self, rejection: type[Exception]) -> None:
        self._rejection = rejection
        self.accepted = 0
        self.rejected = 0

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if error is None:
            self.accepted += 1
        elif isinstance(error, self._rejection):
            self.rejected += 1
            return True
        return False

    def check(self, *, accepted: int = 1, rejected: int = 1) -> None:
        """Fail unless at least so many examples were accepted, and so many rejected."""
        assert self.accepted >= accepted, f"only {self.accepted} accepted, {self.rejected} rejected"
        assert self.rejected >= rejected, f"only {self.rejected} rejected, {self.accepted} accepted"
