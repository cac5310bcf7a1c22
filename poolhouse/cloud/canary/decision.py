"""Whether a new release is worse than the present one: a pure function of their outcomes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

from poolhouse.cloud.canary.outcomes import Outcomes

#: Fewer outcomes than these, of either release, are not judged.
LEAST = 20
#: The error rate has to be above the other one by this much at least.
MARGIN = 0.01
#: How improbable a difference has to be by chance alone. So small since one watch compares many times: 20 looks at four
#: parts are 80 chances to be wrong.
SIGNIFICANCE = 1e-4

#: worse: its error rate has risen. silent: it ends nothing, though it has a share. few: not enough to judge.
Verdict = Literal["good", "worse", "silent", "few"]
#: What follows for the release.
Conclusion = Literal["promote", "take back", "stay"]


def judge(new: Outcomes, old: Outcomes, *, percent: int) -> Verdict:
    """Compare the outcomes of one part of the pipeline.

    Args:
        new: those of the new release.
        old: those of the present one, in the same time.
        percent: the new one's share.
    """
    if new.ended >= LEAST and new.rate >= old.rate + MARGIN and p_value(new, old) < SIGNIFICANCE:
        return "worse"
    expected = old.ended * percent / (100 - percent)
    if new.ended == 0 and expected >= LEAST:
        return "silent"
    return "good" if min(new.ended, old.ended) >= LEAST else "few"


def conclude(verdicts: Iterable[Verdict]) -> Conclusion:
    """What follows from the verdicts on all parts, at the end of a watch: one bad part is enough to go back."""
    found = set(verdicts)
    if found & {"worse", "silent"}:
        return "take back"
    return "promote" if "good" in found else "stay"


def p_value(new: Outcomes, old: Outcomes) -> float:
    """Return the probability that `new` would have so many of all failures, or more, if both were equally good.

    Fisher's exact test, one-sided: it holds for small numbers too.
    """
    ended, failed = new.ended + old.ended, new.failed + old.failed
    ways = sum(
        math.comb(failed, count) * math.comb(ended - failed, new.ended - count)
        for count in range(new.failed, min(failed, new.ended) + 1)
    )
    return ways / math.comb(ended, new.ended)
