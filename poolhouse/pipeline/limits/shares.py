"""How worker processes share a limit: what its object says, and by which rules it changes. Pure: no I/O, no clock.

A limit is a number of units. With `max_concurrency` a task has a unit while it runs; with a rate of N in S seconds
there are N units, and a start has one from the start until S seconds later. So in no span of S seconds are there more
than N starts, and both kinds are shared alike: a process *holds* units for the length of a lease, uses them for one
task after the other without a write, and gives back what others need more.

Only a process itself lowers what it holds, so the units held, and those that cool, never add up to more than the limit.
Clocks matter only where a process died: its units return `CLOCK_MARGIN` after its lease has ended.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from poolhouse.pipeline.limits.rate import Rate, parse_rate

#: What the clocks of two workers may differ by: units of another process are free so much later than its lease says.
CLOCK_MARGIN = timedelta(seconds=2)
#: Shortest lease, in seconds; it is renewed when a third of it is over.
LEASE_S = 21.0
#: Lease for each process that shares the limit, in seconds: each renews in a third of it, so that all of them together
#: write the object about once a second at the most (Cloud Storage, Quotas: one write a second of one object).
LEASE_EACH_S = 3.0

Kind = Literal["limit", "serial"]
_LATEST = datetime.max.replace(tzinfo=UTC)


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class Hold(_Model):
    """What a process has of one kind of units."""

    #: How many it could use.
    want: int = 0
    #: How many it has.
    have: int = 0


class Holder(_Model):
    """One process that shares a limit."""

    #: Until when it may use what it has.
    until: datetime
    #: Tasks that wait in it.
    waiting: int = 0
    #: When the first of them was submitted; None where none waits.
    waiting_since: datetime | None = None
    #: Tasks at the same time.
    slots: Hold = Hold()
    #: Starts in a span.
    starts: Hold = Hold()


class Cooling(_Model):
    """Starts of processes that are gone, until their span is over."""

    free_at: datetime
    count: int


class LimitState(_Model):
    """A limit's object: one type and key."""

    task_type: str
    kind: Kind
    #: The values of the key's fields.
    key: dict[str, Any]
    rate: str | None = None
    max_concurrency: int | None = None
    holders: dict[str, Holder] = {}
    cooling: tuple[Cooling, ...] = ()
    updated_at: datetime

    @property
    def empty(self) -> bool:
        """Whether it says nothing: nothing uses the limit."""
        return not self.holders and not self.cooling


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What a process goes by."""

    slots: int | None
    rate: Rate | None

    @property
    def span(self) -> timedelta:
        """How long a start has its unit."""
        return timedelta(seconds=self.rate.span_s if self.rate else 0)


@dataclass(frozen=True)
class Need:
    """What a process needs of one kind of units."""

    #: In use: these it can't give back.
    busy: int = 0
    #: How many it could use, those included.
    want: int = 0


@dataclass(frozen=True)
class Surplus:
    """Units of a process that others lack."""

    slots: int = 0
    starts: int = 0


def current(state: LimitState, *, now: datetime) -> LimitState:
    """The state as it is now, by what it says of its rule."""
    return settled(
        state, Rule(slots=state.max_concurrency, rate=parse_rate(state.rate) if state.rate else None), now=now
    )


def settled(state: LimitState, rule: Rule, *, now: datetime) -> LimitState:
    """The state without processes whose leases have ended, and starts that have cooled."""
    gone = [holder for holder in state.holders.values() if holder.until + CLOCK_MARGIN <= now]
    lost = [
        Cooling(free_at=holder.until + rule.span + CLOCK_MARGIN, count=holder.starts.have)
        for holder in gone
        if holder.starts.have
    ]
    return state.model_copy(
        update={
            "holders": {name: each for name, each in state.holders.items() if each.until + CLOCK_MARGIN > now},
            "cooling": tuple(each for each in (*state.cooling, *lost) if each.free_at > now),
        }
    )


def renewed(
    state: LimitState,
    process: str,
    *,
    rule: Rule,
    slots: Need,
    starts: Need,
    waiting: int,
    waiting_since: datetime | None,
    now: datetime,
) -> LimitState:
    """The state after a process renewed its lease, said what it needs, and took or gave back what is fair.

    What it gives back, and what else is free, goes to those that wait: they find it when they look.
    """
    state = settled(state, rule, now=now)
    lease_s = max(LEASE_S, LEASE_EACH_S * len({*state.holders, process}))
    me = Holder(
        until=now + timedelta(seconds=lease_s),
        waiting=waiting,
        waiting_since=waiting_since,
        slots=Hold(want=slots.want, have=slots.busy),
        starts=Hold(want=starts.want, have=starts.busy),
    )
    holders = {**state.holders, process: me}
    order = _order(holders)
    given: dict[str, dict[str, Hold]] = {}
    for units, total in (("slots", rule.slots), ("starts", _warm(rule, state))):
        holds = {name: getattr(holder, units) for name, holder in holders.items()}
        given[units] = holds if total is None else _shared(total, holds, process, order)
    return state.model_copy(
        update={
            "holders": {
                name: holder.model_copy(update={units: holds[name] for units, holds in given.items()})
                for name, holder in holders.items()
            },
            "updated_at": now,
        }
    )


def released(state: LimitState, process: str, *, rule: Rule, cooling: Sequence[Cooling], now: datetime) -> LimitState:
    """The state after a process has given back all it had.

    Args:
        cooling: its starts whose span is not over.
    """
    state = settled(state, rule, now=now)
    return state.model_copy(
        update={
            "holders": {name: holder for name, holder in state.holders.items() if name != process},
            "cooling": (*state.cooling, *cooling),
            "updated_at": now,
        }
    )


def surplus(state: LimitState, process: str, *, rule: Rule, slots: Need, starts: Need, now: datetime) -> Surplus:
    """How much a process has beyond its fair share, as far as others lack it."""
    state = settled(state, rule, now=now)
    if process not in state.holders:
        return Surplus()
    order = _order(state.holders)

    def of(units: str, total: int | None, need: Need) -> int:
        if total is None:
            return 0
        holds: dict[str, Hold] = {name: getattr(each, units) for name, each in state.holders.items()}
        wants = {name: hold.want for name, hold in holds.items()} | {process: need.want}
        fair = fair_shares(total, wants, order)
        lacking = sum(max(0, fair[name] - hold.have) for name, hold in holds.items() if name != process)
        return min(lacking, max(0, holds[process].have - fair[process]))

    return Surplus(of("slots", rule.slots, slots), of("starts", _warm(rule, state), starts))


def fair_shares(total: int, wants: Mapping[str, int], order: Sequence[str]) -> dict[str, int]:
    """Share units so that none has less than it wants while another has more than it by two (max-min fairness).

    Args:
        total: the units.
        wants: by process.
        order: who comes first where units are left that can't be shared evenly.
    """
    shares = dict.fromkeys(wants, 0)
    left = total
    unmet = [name for name in order if wants[name] > 0]
    while unmet and left > 0:
        level = max(1, left // len(unmet))
        for name in unmet:
            more = min(level, wants[name] - shares[name], left)
            shares[name] += more
            left -= more
        unmet = [name for name in unmet if shares[name] < wants[name]]
    return shares


def _shared(total: int, holds: Mapping[str, Hold], process: str, order: Sequence[str]) -> dict[str, Hold]:
    """Give free units to those that have less than is fair; half of what then is left is the writer's, as a spare."""
    have = {name: hold.have for name, hold in holds.items()}
    others = sum(have.values()) - have[process]
    have[process] = max(0, min(have[process], total - others))
    free = max(0, total - others - have[process])
    fair = fair_shares(total, {name: hold.want for name, hold in holds.items()}, order)
    for name in order:
        more = min(free, max(0, fair[name] - have[name]))
        have[name] += more
        free -= more
    if holds[process].want:
        have[process] += math.ceil(free / 2)
    return {name: hold.model_copy(update={"have": have[name]}) for name, hold in holds.items()}


def _order(holders: Mapping[str, Holder]) -> list[str]:
    """The processes, those first whose first waiting task was submitted first."""

    def age(name: str) -> tuple[bool, datetime, str]:
        since = holders[name].waiting_since
        return since is None, since or _LATEST, name

    return sorted(holders, key=age)


def _warm(rule: Rule, state: LimitState) -> int | None:
    """The starts that are not cooling; None where there is no rate."""
    return None if rule.rate is None else max(0, rule.rate.starts - sum(each.count for each in state.cooling))
