"""How long a task waits between two attempts, where its type declares it. Pure: the randomness is an argument."""

from __future__ import annotations

from dataclasses import dataclass

from poolhouse.pipeline.timing.delays import check_delay_s


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """Exponential backoff: `base_s`, then `factor` times as long after each failure, up to `ceiling_s`.

    Raises:
        ValueError: a field is out of its range.
    """

    #: Wait after the first failed attempt, in seconds.
    base_s: float
    #: How many times longer each further wait is.
    factor: float = 2.0
    #: Longest wait, in seconds.
    ceiling_s: float = 3600.0
    #: Share of the wait that is random, from 0 (none of it) to 1 (all of it): it is taken off.
    jitter: float = 0.1

    def __post_init__(self) -> None:
        for name in ("base_s", "ceiling_s"):
            try:
                check_delay_s(getattr(self, name))
            except ValueError as error:
                raise ValueError(f"Backoff: {name} {error}") from None
        if self.base_s > self.ceiling_s:
            raise ValueError(f"Backoff: ceiling_s ({self.ceiling_s:g}) must not be below base_s ({self.base_s:g})")
        if not _number(self.factor) or not 1 <= self.factor <= 1000:
            raise ValueError(f"Backoff: factor must be a number from 1 to 1000, not {self.factor!r}")
        if not _number(self.jitter) or not 0 <= self.jitter <= 1:
            raise ValueError(f"Backoff: jitter must be a number from 0 to 1, not {self.jitter!r}")

    def wait_s(self, failures: int, *, random: float) -> float:
        """Return the wait after so many failed attempts, in seconds.

        Args:
            failures: failed attempts in a row, from 1.
            random: a number from 0 to 1.
        """
        try:
            full_s = min(self.ceiling_s, self.base_s * self.factor ** max(0, failures - 1))
        except OverflowError:
            full_s = self.ceiling_s if self.base_s else 0.0
        return full_s * (1 - self.jitter * random)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
