"""One round: submit and strike as planned, leave the pipeline in peace until it has come to its end, judge."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from poolhouse.local.chaos import stack as stacks
from poolhouse.local.chaos.client import Accepted, Submitter
from poolhouse.local.chaos.plan import Blow, Plan, Spell
from poolhouse.local.chaos.stack import Stack
from poolhouse.local.chaos.verdict import Facts, judge
from poolhouse.local.storage.proxy import Mutation
from poolhouse.pipeline import names
from poolhouse.pipeline.tasks.records import TaskRecord
from poolhouse.worker import registry

_POLL_S = 0.2
#: A server's time to fail lasts, whatever the plan says, until it has failed so often in all, or no call is left to
#: fail: on a slow machine the planned seconds may pass without a call.
LEAST_FAULTS = 10


@dataclass(frozen=True, kw_only=True)
class Report:
    """What came of a round.

    Attributes:
        problems: what is wrong, a line each.
        statuses: how many tasks ended how, follow-up tasks included.
        outcomes: the same of attempts.
        faults: how often each injected fault struck.
        deploys: how often API and workers were all replaced while tasks were running.
        told: how many ends were told by a webhook.
        peace_s: how long it took to come to an end once nothing went wrong any more, in seconds.
    """

    seed: int
    accepted: int
    problems: tuple[str, ...]
    statuses: dict[str, int]
    outcomes: dict[str, int]
    faults: dict[str, int]
    starts: int
    deploys: int
    told: int
    peace_s: float
    #: Changes by the prefix of their objects that came too early for Cloud Storage's rates and were repeated; None
    #: where those are not enforced.
    too_early: dict[str, int] | None = None

    def summary(self) -> str:
        """The report in a few lines."""
        lines = [
            f"seed {self.seed}: {self.accepted} tasks accepted, {self.starts} starts of processes, "
            f"{self.deploys} {'deploy' if self.deploys == 1 else 'deploys'}, "
            f"at rest {self.peace_s:.1f} s after the last fault",
            f"  tasks: {_counts(self.statuses)}",
            f"  attempts: {_counts(self.outcomes)}",
            f"  faults: {_counts(self.faults)}",
            f"  webhooks: {self.told} ends told",
        ]
        if self.too_early is not None:
            lines.append(f"  answered 429 by the rates of Cloud Storage: {_counts(self.too_early)}")
        lines += [f"  WRONG: {problem}" for problem in self.problems]
        return "\n".join(lines)


def run_round(
    plan: Plan,
    *,
    directory: Path,
    peace_s: float = 120,
    gcs_limits: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Report:
    """Run a plan.

    Args:
        directory: for the logs of the processes.
        peace_s: how long the pipeline may take to end every task once nothing goes wrong any more, in seconds.
        gcs_limits: take changes of objects at the rates of Cloud Storage only.
        say: called with each event, as text.

    Raises:
        StackError: the stack does not start.
    """
    with stacks.running(seed=plan.seed, workers=plan.workers, directory=directory, gcs_limits=gcs_limits) as stack:
        give_up = threading.Event()
        submitter = Submitter(stack.api_url, webhook_url=stack.receiver.url, give_up=give_up)
        started_s = time.monotonic()
        with ThreadPoolExecutor(1) as background:
            submitting = background.submit(submitter.run, plan.jobs, started_s=started_s)
            problems = _strike(plan, stack, started_s=started_s, say=say, calls_left=lambda: not submitting.done())
            calm_s = time.monotonic()
            deadline_s = calm_s + peace_s
            while not submitting.done() and time.monotonic() < deadline_s:
                time.sleep(_POLL_S)
            give_up.set()
            accepted = submitting.result()
        problems += submitter.refusals
        if len(accepted) + len(submitter.refusals) < len(plan.jobs):
            problems.append(f"only {len(accepted)} of {len(plan.jobs)} submit calls were answered")
        problems += _come_to_rest(stack, accepted, deadline_s=deadline_s)
        rested_s = time.monotonic() - calm_s
        facts = _facts(stack, accepted)
        return Report(
            seed=plan.seed,
            accepted=len(accepted),
            problems=(*problems, *judge(facts)),
            statuses=dict(Counter(str(record.status) for record in facts.records.values())),
            outcomes=dict(
                Counter(str(attempt.outcome) for record in facts.records.values() for attempt in record.attempts)
            ),
            faults=stack.struck(),
            told=len({told.event_id for told in facts.told}),
            starts=stack.starts,
            deploys=stack.deploys,
            peace_s=rested_s,
            too_early=_prefixes(stack.journal.refused) if gcs_limits else None,
        )


def _strike(
    plan: Plan, stack: Stack, *, started_s: float, say: Callable[[str], None], calls_left: Callable[[], bool]
) -> list[str]:
    """Do everything that the plan has for the processes and servers, at its time; returns what ended by itself."""
    problems: list[str] = []
    ends: dict[int, Callable[[], None]] = {}

    def begin(index: int, spell: Spell) -> None:
        say(f"{spell.at_s:5.1f} s  {spell.server}: {spell.kind} {spell.options} until {spell.until_s:.1f} s")
        ends[index] = stack.begin(spell)

    def end(index: int, spell: Spell) -> None:
        if stack.struck_by(spell.server) >= LEAST_FAULTS:
            ends.pop(index)()

    def strike(blow: Blow) -> None:
        say(f"{blow.at_s:5.1f} s  {blow.way} {blow.target} {blow.index}")
        problems.extend(stack.ensure_running())
        problems.extend(stack.strike(blow))

    events: list[tuple[float, Callable[[], None]]] = [
        *((blow.at_s, partial(strike, blow)) for blow in plan.blows),
        *((spell.at_s, partial(begin, index, spell)) for index, spell in enumerate(plan.spells)),
        *((spell.until_s, partial(end, index, spell)) for index, spell in enumerate(plan.spells)),
    ]
    for at_s, event in sorted(events, key=lambda event: event[0]):
        time.sleep(max(0.0, started_s + at_s - time.monotonic()))
        event()
    time.sleep(max(0.0, started_s + plan.length_s - time.monotonic()))
    while ends and calls_left():
        for index in list(ends):
            end(index, plan.spells[index])
        time.sleep(_POLL_S)
    for end_spell in ends.values():
        end_spell()
    return problems


def _come_to_rest(stack: Stack, accepted: list[Accepted], *, deadline_s: float) -> list[str]:
    """Wait until every task has ended and every subscription is empty; returns what did not come true in time."""
    problems = []
    ids = {answer.task_id for answer in accepted}
    left: set[str] = ids
    unacked: dict[str, int] = {}
    while time.monotonic() < deadline_s:
        problems += stack.ensure_running()
        left = stack.journal.open_tasks(ids)
        unacked = stack.unfinished()
        if not left and not unacked:
            return problems
        time.sleep(_POLL_S)
    for task_id in sorted(left)[:10]:
        objects = [stack.storage.download(stacks.BUCKET, name(task_id)) for name in (names.claim, names.record)]
        found = " ".join(data.decode() for data in objects if data is not None) or "no record"
        problems.append(f"{task_id}: has not ended in time: {found}")
    problems += [f"{name}: {count} messages are still unacked" for name, count in unacked.items()]
    return problems


def _facts(stack: Stack, accepted: list[Accepted]) -> Facts:
    names_in_bucket = stack.storage.list(stacks.BUCKET)

    def read(prefix: str) -> dict[str, bytes]:
        return {
            name: data
            for name in names_in_bucket
            if name.startswith(prefix) and (data := stack.storage.download(stacks.BUCKET, name)) is not None
        }

    records = [TaskRecord.model_validate_json(data) for data in read(names.TASKS).values()]
    records.sort(key=lambda record: record.step)  # of a task's objects the one with the latest step counts
    handlers = registry.load(("poolhouse.local.chaos.handlers",))
    queues = stack.topology.queues
    return Facts(
        accepted=accepted,
        records={record.task_id: record for record in records},
        results=read(names.RESULTS),
        dead_letters=frozenset(name for name in names_in_bucket if name.startswith(names.DEAD_LETTERS)),
        writes=stack.journal.writes(""),
        told=stack.receiver.told,
        most_attempts={
            handler.task_type: handler.max_attempts or max(queue.max_attempts for queue in queues)
            for handler in handlers.values()
        },
    )


def _prefixes(refused: Iterable[Mutation]) -> dict[str, int]:
    """How many of these objects are of each kind, such as `tasks,claim` and `schedules`."""
    kinds = Counter[str]()
    for mutation in refused:
        prefix, _, name = mutation.name.partition("/")[2].partition("/")
        kinds[f"{prefix},{name.partition(',')[2]}" if "," in name else prefix or mutation.kind] += 1
    return dict(kinds)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"
