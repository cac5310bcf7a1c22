"""What a round of chaos does, all of it drawn from a seed: the same seed makes the same plan."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

Target = Literal["worker", "api", "pubsub", "all"]
Way = Literal["kill", "stop", "restart", "deploy"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """A task to submit.

    Attributes:
        key: its idempotency key.
        at_s: when, in seconds after the start.
        cancel: whether to ask for its cancellation right after.
        delay_s: how long it has to wait, in seconds.
        told: whether its end is to be told by a webhook.
    """

    key: str
    at_s: float
    task_type: str
    queue: str
    payload: dict[str, Any]
    cancel: bool = False
    delay_s: float = 0
    told: bool = False

    @property
    def number(self) -> int:
        """The number that its result has to show."""
        number: int = self.payload["number"]
        return number


@dataclass(frozen=True, kw_only=True)
class Blow:
    """Something that happens to a process: `kill` (SIGKILL), `stop` (SIGTERM), `restart` (of the Pub/Sub emulator).

    Or to `all` of API and workers: `deploy`, which replaces each while tasks are running.
    """

    at_s: float
    target: Target
    way: Way
    index: int = 0


@dataclass(frozen=True, kw_only=True)
class Spell:
    """A time in which a server fails now and then: `kind` and `options` are those of its fault."""

    at_s: float
    until_s: float
    server: Literal["pubsub", "storage"]
    kind: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One round."""

    seed: int
    length_s: float
    workers: int
    jobs: tuple[Job, ...]
    blows: tuple[Blow, ...]
    spells: tuple[Spell, ...]


#: How often each task type is drawn, and its payload.
_TYPES: dict[str, tuple[int, Callable[[random.Random], dict[str, Any]]]] = {
    "echo": (40, lambda rng: {}),
    "file": (15, lambda rng: {}),
    "nap": (12, lambda rng: {"seconds": round(rng.uniform(0.05, 1.5), 2)}),
    "doze": (10, lambda rng: {"seconds": round(rng.uniform(0.05, 1.0), 2)}),
    "flaky": (10, lambda rng: {"times": rng.randint(1, 3)}),
    "refuse": (4, lambda rng: {}),
    "boom": (3, lambda rng: {}),
    "single": (10, lambda rng: {"slot": rng.randrange(4), "seconds": round(rng.uniform(0.05, 0.5), 2)}),
    "crowd": (
        2,
        lambda rng: {"echoes": rng.randint(1, 24), "refused": rng.choice((0, 0, 1, 2)), "anyway": rng.random() < 0.5},
    ),
    "stepped": (8, lambda rng: {"steps": rng.randint(2, 5), "seconds": round(rng.uniform(0.2, 1.2), 2)}),
    "narrow": (6, lambda rng: {"slot": rng.randrange(2), "seconds": round(rng.uniform(0.05, 0.5), 2)}),
    "in_turn": (6, lambda rng: {"slot": rng.randrange(3), "seconds": round(rng.uniform(0.02, 0.2), 2)}),
    "parent": (6, lambda rng: {"times": rng.randint(1, 3)}),
}
#: The faults, each with the probability range of a spell of it.
_PUBSUB: tuple[tuple[str, float, float, dict[str, Any]], ...] = (
    ("duplicate", 0.05, 0.3, {}),
    ("reorder", 0.2, 0.8, {}),
    ("drop_ack", 0.02, 0.2, {}),
    ("error", 0.05, 0.4, {"methods": ("Publish", "Acknowledge", "ModifyAckDeadline")}),
    ("lose_publish_answer", 0.05, 0.3, {}),
    ("reset_stream", 0.01, 0.1, {}),
)
_STORAGE: tuple[tuple[str, float, float, dict[str, Any]], ...] = (
    ("status", 0.05, 0.3, {"status": 503}),
    ("status", 0.05, 0.3, {"status": 429}),
    ("status", 0.9, 1.0, {"status": 503}),  # an outage
    ("reset", 0.02, 0.2, {}),
    ("lose_answer", 0.02, 0.2, {}),
    ("cut_answer", 0.02, 0.1, {}),
    ("slow", 0.05, 0.3, {"seconds": 0.3}),
    ("slow", 0.02, 0.05, {"seconds": 4.0}),
)
#: Seconds between two blows to workers, on average, and to the rest.
_WORKER_EVERY_S, _OTHER_EVERY_S = 2.5, 6.0


def make_plan(seed: int, *, tasks: int, length_s: float, workers: int = 3) -> Plan:
    """Draw a plan.

    Args:
        tasks: how many to submit, spread over the length.
        length_s: how long things go wrong, in seconds; afterwards the pipeline is left in peace to come to its end.
        workers: processes.
    """
    rng = random.Random(seed)
    return Plan(
        seed=seed,
        length_s=length_s,
        workers=workers,
        jobs=_jobs(rng, tasks, length_s),
        blows=_blows(rng, length_s, workers),
        spells=tuple(
            sorted(
                (*_spells(rng, "pubsub", _PUBSUB, length_s), *_spells(rng, "storage", _STORAGE, length_s)),
                key=lambda spell: spell.at_s,
            )
        ),
    )


def _jobs(rng: random.Random, tasks: int, length_s: float) -> tuple[Job, ...]:
    times = sorted(rng.uniform(0, length_s) for _ in range(tasks))
    jobs = []
    for number, at_s in enumerate(times):
        (task_type,) = rng.choices(list(_TYPES), weights=[weight for weight, _ in _TYPES.values()])
        jobs.append(
            Job(
                key=f"job-{number}",
                at_s=at_s,
                task_type=task_type,
                queue=rng.choice(("urgent", "default")),
                payload={"number": number, **_TYPES[task_type][1](rng)},
                cancel=rng.random() < 0.03,
                delay_s=round(rng.uniform(0.5, 5), 2) if rng.random() < 0.15 else 0,
                told=rng.random() < 0.25,
            )
        )
    return tuple(jobs)


def _blows(rng: random.Random, length_s: float, workers: int) -> tuple[Blow, ...]:
    blows = []
    at_s = 0.0
    while (at_s := at_s + rng.uniform(0.5, 1.5) * _WORKER_EVERY_S) < length_s:
        way: Way = "kill" if rng.random() < 0.75 else "stop"
        blows.append(Blow(at_s=at_s, target="worker", way=way, index=rng.randrange(workers)))
    at_s = 0.0
    while (at_s := at_s + rng.uniform(0.5, 1.5) * _OTHER_EVERY_S) < length_s:
        if rng.random() < 0.7:
            blows.append(Blow(at_s=at_s, target="api", way="kill" if rng.random() < 0.5 else "stop"))
        else:
            blows.append(Blow(at_s=at_s, target="pubsub", way="restart"))
    blows.append(Blow(at_s=length_s / 2, target="all", way="deploy"))
    return tuple(sorted(blows, key=lambda blow: blow.at_s))


def _spells(
    rng: random.Random,
    server: Literal["pubsub", "storage"],
    kinds: tuple[tuple[str, float, float, dict[str, Any]], ...],
    length_s: float,
) -> list[Spell]:
    """Each kind has its time, and all of them come in each round, however short it is."""
    spells = []
    for kind, least, most, options in kinds:
        lasts_s = min(length_s / 3, rng.uniform(2, 6))
        at_s = rng.uniform(0, length_s - lasts_s)
        probability = round(rng.uniform(least, most), 3)
        spells.append(
            Spell(
                at_s=at_s,
                until_s=at_s + lasts_s,
                server=server,
                kind=kind,
                options={**options, "probability": probability},
            )
        )
    return spells
