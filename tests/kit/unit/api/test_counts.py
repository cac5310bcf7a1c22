"""Counts that cost time to make are not made for every call."""

from __future__ import annotations

import asyncio

from poolhouse.api.counts import Counts


class Slow:
    """A count that takes `cost_s` on a clock of its own."""

    def __init__(self, cost_s: float) -> None:
        self.cost_s = cost_s
        self.now_s = 100.0
        self.made = 0

    async def __call__(self) -> int:
        self.made += 1
        self.now_s += self.cost_s
        await asyncio.sleep(0)
        return self.made


def test_a_count_is_made_again_once_it_has_paid_for_itself() -> None:
    slow = Slow(cost_s=1)
    counts = Counts(share=0.05, monotonic=lambda: slow.now_s)

    async def look() -> int:
        return await counts.of("q", slow)

    assert asyncio.run(look()) == 1
    slow.now_s += 19
    assert asyncio.run(look()) == 1
    slow.now_s += 2
    assert asyncio.run(look()) == 2


def test_many_who_ask_at_once_wait_for_one_count() -> None:
    slow = Slow(cost_s=1)
    counts = Counts(monotonic=lambda: slow.now_s)

    async def ask() -> list[int]:
        return list(await asyncio.gather(*(counts.of("q", slow) for _ in range(20))))

    assert asyncio.run(ask()) == [1] * 20
    assert slow.made == 1
