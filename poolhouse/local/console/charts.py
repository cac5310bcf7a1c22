"""A queue's last hour or day as bars: what ended in each step, failures at their feet, and a line of what came in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: Part of a step's width that its bar takes.
_FILL = 0.78


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar, placed in a chart of width 100 and height 100."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, kw_only=True)
class Chart:
    """What the page draws."""

    succeeded: tuple[Bar, ...]
    failed: tuple[Bar, ...]
    #: Points of the line of submits, as SVG has them; empty where nothing came.
    submitted: str
    #: The most tasks of a step.
    peak: int


def chart(*, submitted: Sequence[int], ended: Sequence[int], failed: Sequence[int]) -> Chart:
    """Make a chart of the steps of a window, the oldest first."""
    peak = max([1, *submitted, *ended])
    step = 100 / len(ended)

    def bars(counts: Sequence[int], feet: Sequence[int]) -> tuple[Bar, ...]:
        return tuple(
            Bar(
                x=step * (index + (1 - _FILL) / 2),
                y=100 - 100 * (count + foot) / peak,
                width=step * _FILL,
                height=100 * count / peak,
            )
            for index, (count, foot) in enumerate(zip(counts, feet, strict=True))
            if count
        )

    good = [each - bad for each, bad in zip(ended, failed, strict=True)]
    points = " ".join(
        f"{step * (index + 0.5):.2f},{100 - 100 * count / peak:.1f}" for index, count in enumerate(submitted)
    )
    return Chart(
        succeeded=bars(good, failed),
        failed=bars(failed, [0] * len(failed)),
        submitted=points if any(submitted) else "",
        peak=max([0, *submitted, *ended]),
    )
