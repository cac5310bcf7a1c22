"""Watching a canary: compare the outcomes of both releases until the new one is worse, or time is up."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from poolhouse.cloud.canary import outcomes
from poolhouse.cloud.canary.decision import Verdict, judge
from poolhouse.cloud.canary.outcomes import Outcomes
from poolhouse.cloud.canary.parts import Part
from poolhouse.cloud.gcloud.runner import Gcloud

#: Time between two looks, in seconds.
EVERY_S = 30.0
_MESSAGES = {"service": "request", "pool": "task ended"}
_WORDS: Mapping[Verdict, str] = {
    "good": "",
    "worse": "; the error rate has risen",
    "silent": "; the new one has ended nothing",
    "few": "; too few to judge",
}


@dataclass(frozen=True, kw_only=True)
class Clock:
    """What time it is, and how to wait."""

    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    #: Takes seconds.
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One part of the pipeline, with the outcomes of both releases."""

    part: Part
    new: Outcomes
    old: Outcomes

    @property
    def verdict(self) -> Verdict:
        """What they say about the new release."""
        return judge(self.new, self.old, percent=self.part.percent)

    def __str__(self) -> str:
        """As a person reads it."""
        return f"{self.part.name}: new {self.new}, old {self.old}{_WORDS[self.verdict]}"


def watch(
    gcloud: Gcloud, parts: Sequence[Part], *, length_s: float, clock: Clock, say: Callable[[str], None]
) -> tuple[Comparison, ...]:
    """Return the last comparisons: the first look at which a part is worse ends the watch, else its time does.

    Args:
        gcloud: with what.
        parts: what runs both releases.
        length_s: how long, in seconds.
        clock: moved in tests.
        say: where a line for each look goes.

    Raises:
        CloudError: the log can't be read.
    """
    began = clock.now()
    end = began + timedelta(seconds=length_s)
    while True:
        clock.sleep(min(EVERY_S, (end - clock.now()).total_seconds()))
        found = look(gcloud, parts, since=began)
        now = clock.now()
        for comparison in found:
            say(f"{(now - began).total_seconds():5.0f} s  {comparison}")
        if now >= end or any(comparison.verdict == "worse" for comparison in found):
            return found


def look(gcloud: Gcloud, parts: Sequence[Part], *, since: datetime) -> tuple[Comparison, ...]:
    """Compare the outcomes of both releases since then. Raises `GcloudFailed`."""
    reads = []
    for kind, message in _MESSAGES.items():
        chosen = [part for part in parts if part.kind == kind]
        # The releases apart, so that the lines of the busier one don't leave those of the other out.
        if chosen:
            reads += [
                outcomes.read(names, message=message, since=since)
                for names in ([part.new for part in chosen], [part.old for part in chosen])
            ]
    counted: dict[str, Outcomes] = {}
    for entries in gcloud.read_all(reads).values():
        counted |= outcomes.count(entries)
    none = Outcomes()
    return tuple(
        Comparison(part=part, new=counted.get(part.new, none), old=counted.get(part.old, none)) for part in parts
    )
