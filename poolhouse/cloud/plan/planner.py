"""What a deploy would do: a pure function from what is wanted and what was read to actions, in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from poolhouse.cloud.errors import CloudError, Refused
from poolhouse.cloud.resource import Change, Command, Json, Leftover, LeftoverQuery, Read, Resource, compare

Verb = Literal["create", "update", "unchanged"]


@dataclass(frozen=True, kw_only=True)
class Action:
    """What happens to one resource."""

    verb: Verb
    resource: Resource
    changes: tuple[Change, ...] = ()
    commands: tuple[Command, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The actions in an order that respects what each needs; and what is left from earlier deploys."""

    actions: tuple[Action, ...]
    leftovers: tuple[Leftover, ...] = ()

    @property
    def work(self) -> tuple[Action, ...]:
        """The actions that do something."""
        return tuple(action for action in self.actions if action.verb != "unchanged")

    @property
    def commands(self) -> tuple[Command, ...]:
        """Every command of the plan, in order."""
        return tuple(command for action in self.actions for command in action.commands)


#: What was read, by the arguments of the read; absent where it was not read (API off, parent missing) or not found.
Snapshot = Mapping[tuple[str, ...], Json]


def plan(resources: Sequence[Resource], snapshot: Snapshot, *, sweeps: Sequence[LeftoverQuery] = ()) -> Plan:
    """Compare what is wanted with what is there.

    Raises:
        Refused: a field differs that can't change, or something is not there that a deploy can't make: all of them.
        CloudError: two resources of one id, or a circle among what they need.
    """
    actions, refusals = [], []
    for resource in ordered(resources):
        try:
            actions.append(decide(resource, snapshot.get(resource.read.arguments)))
        except Refused as refusal:
            refusals.append(str(refusal))
    if refusals:
        raise Refused("\n".join(refusals))
    wanted = {resource.id for resource in resources}
    found = (leftover for sweep in sweeps for leftover in sweep.find(snapshot.get(sweep.read.arguments)))
    return Plan(actions=tuple(actions), leftovers=tuple(leftover for leftover in found if leftover.id not in wanted))


def decide(resource: Resource, raw: Json) -> Action:
    """The action for one resource, given what its read printed (None: not there). Raises `Refused`."""
    present = resource.observe(raw)
    if present is None and resource.absent:
        raise Refused(f"{resource.id}: {resource.absent}")
    if present is None:
        return Action(verb="create", resource=resource, commands=resource.create)
    changes = compare(resource.wanted, present)
    for change in changes:
        if change.field in resource.fixed:
            raise Refused(
                f"{resource.id}: {change.field} is {change.before!r} and can't become {change.after!r}. "
                f"What to do: {resource.fixed[change.field]}."
            )
    if not changes:
        return Action(verb="unchanged", resource=resource)
    return Action(verb="update", resource=resource, changes=changes, commands=resource.update(raw))


def ordered(resources: Sequence[Resource]) -> tuple[Resource, ...]:
    """The resources, each behind all that it needs, else as given.

    `after` may name a kind alone: then all resources of that kind are meant; ids that are not wanted count as in place.

    Raises:
        CloudError: two resources of one id, or a circle.
    """
    by_id: dict[str, Resource] = {}
    for resource in resources:
        if resource.id in by_id:
            raise CloudError(f"two resources are called {resource.id}: rename a queue or a schedule in pipeline.toml.")
        by_id[resource.id] = resource
    result: list[Resource] = []
    state: dict[str, bool] = {}

    def visit(resource: Resource) -> None:
        if state.get(resource.id):
            return
        if resource.id in state:
            raise CloudError(
                f"{resource.id} needs itself, through what it needs: a mistake in poolhouse/cloud/plan/desired.py."
            )
        state[resource.id] = False
        for needed in needs(resource, by_id):
            visit(by_id[needed])
        state[resource.id] = True
        result.append(resource)

    for resource in resources:
        visit(resource)
    return tuple(result)


def needs(resource: Resource, by_id: Mapping[str, Resource]) -> tuple[str, ...]:
    """Ids among `by_id` that must be in place before the resource."""
    found = []
    for name in resource.after:
        if name in by_id:
            found.append(name)
        else:
            found.extend(other for other, there in by_id.items() if there.kind == name)
    return tuple(found)


def first_reads(
    resources: Sequence[Resource], sweeps: Sequence[LeftoverQuery], *, enabled: frozenset[str]
) -> tuple[Read, ...]:
    """The reads that need nothing but their API, each once."""
    reads = [*(resource.read for resource in resources), *(sweep.read for sweep in sweeps)]
    return tuple(dict.fromkeys(read for read in reads if read.needs is None and (not read.api or read.api in enabled)))


def second_reads(resources: Sequence[Resource], snapshot: Snapshot, *, enabled: frozenset[str]) -> tuple[Read, ...]:
    """The reads of what belongs to another resource, where that one is there."""
    by_id = {resource.id: resource for resource in resources}
    reads = []
    for resource in resources:
        read = resource.read
        if read.needs is None or read.api not in enabled:
            continue
        parent = by_id.get(read.needs)
        if parent is None or parent.observe(snapshot.get(parent.read.arguments)) is not None:
            reads.append(read)
    return tuple(dict.fromkeys(reads))
