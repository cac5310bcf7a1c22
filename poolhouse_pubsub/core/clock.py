"""The emulator's time: real by default, and as much later as a test asks for."""

from __future__ import annotations

import time
from collections.abc import Callable

#: The last second of the year 9999: protobuf's timestamps end there.
END_S = 253_402_300_799.0


class Clock:
    """Seconds since the epoch, which a test may push forward but never back.

    Args:
        manual: True: time stands still between calls of `advance`. False: it runs, plus whatever was advanced.
        start: The first moment, seconds since the epoch; the real time when None.
        monotonic: Where running time comes from; a test may give its own.
    """

    def __init__(
        self,
        *,
        manual: bool = False,
        start: float | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.manual = manual
        self._monotonic = monotonic
        self._base = time.time() if start is None else start
        self._started = monotonic()
        self._held: float | None = None

    def now(self) -> float:
        """Return the present moment, seconds since the epoch."""
        if self._held is not None:
            return self._held
        if self.manual:
            return self._base
        return self._base + (self._monotonic() - self._started)

    def hold(self, moment: float | None) -> None:
        """Make `now` answer `moment` while an event that was due then is handled; None lets go."""
        self._held = moment

    def skip(self, seconds: float) -> float:
        """Move time forward without firing anything (that is `Emulator.advance`), and return the new moment.

        Raises:
            ValueError: `seconds` is negative or not a number, or leads past the year 9999.
        """
        if not seconds >= 0:
            raise ValueError(f"time goes forward only: advance({seconds}) is not possible")
        if self.now() + seconds > END_S:
            raise ValueError(f"time ends with the year 9999: advance({seconds}) is not possible")
        self._base += seconds
        return self.now()
