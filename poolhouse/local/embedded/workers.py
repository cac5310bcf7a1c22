"""The worker processes of a stack: how many there are, of which queues, and who may change that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from poolhouse.local.backend import QueueScale, UpOptions
from poolhouse.local.embedded import specs as services
from poolhouse.local.embedded.autoscale import Autoscale
from poolhouse.local.embedded.instance import Instance
from poolhouse.local.embedded.instance_group import Crew
from poolhouse.local.embedded.specs import Spec
from poolhouse.local.errors import StackError
from poolhouse.pipeline.config.topology import Topology

#: Workers of a stack at the most: each takes some 90 MB.
MOST_WORKERS = 64


@dataclass
class Change:
    """What became of a wish for another number."""

    #: Those that were started, not ready yet.
    added: list[Instance] = field(default_factory=list)
    #: Names of those that are stopping; `Workers.gone` waits for them.
    dismissed: list[str] = field(default_factory=list)


class Workers:
    """One crew that serves all queues; where their number follows the backlog, one for each queue.

    All methods belong to the supervisor's event loop.
    """

    def __init__(
        self,
        spec: Spec,
        declared: Topology,
        options: UpOptions,
        *,
        make: Callable[[str, Spec], Instance],
        say: Callable[[str], None],
    ) -> None:
        """Starts nothing.

        Args:
            spec: of a worker that serves all queues.
            declared: pipeline.toml.
            options: how many workers, or whether they follow the backlog.
            make: makes the instance of a name and a spec.
            say: called when a backlog changes a number.
        """
        self._say = say
        self._autoscale: Autoscale | None = None
        specs, least = {"worker": spec}, {"worker": options.workers}
        if options.autoscale:
            self._autoscale = Autoscale(declared.queues, window_s=options.scale_down_after_s)
            specs = services.by_queue(spec, declared.by_name)
            least = {_stem_of(queue.name): queue.workers.min_instances for queue in declared.queues}
        self._crews = {stem: _crew(stem, own, make, instances=least.get(stem, 1)) for stem, own in specs.items()}
        self._queues = tuple(declared.by_name)

    @property
    def follow_backlog(self) -> bool:
        """Whether `follow` decides how many there are."""
        return self._autoscale is not None

    @property
    def members(self) -> list[Instance]:
        """All of them, except those that are stopping."""
        return [member for crew in self._crews.values() for member in crew.members]

    def another(self, name: str) -> Instance:
        """One more of a member's name, to take its place."""
        return self._crews[name.rpartition("-")[0]].another(name)

    def put(self, successors: Mapping[str, Instance]) -> None:
        """Put instances in the place of the members of the same names."""
        for crew in self._crews.values():
            crew.put(successors)

    async def gone(self) -> None:
        """Wait until all that are stopping have ended."""
        for crew in self._crews.values():
            await crew.gone()

    def scale(self, instances: int) -> Change:
        """Have that many. Raises `StackError` where that is no number to have, or the backlog decides."""
        if not 0 <= instances <= MOST_WORKERS:
            raise StackError(f"from 0 to {MOST_WORKERS} workers, not {instances}")
        if self.follow_backlog:
            raise StackError(
                "the workers of this stack follow the backlog: ./invoke down, then ./invoke up --workers N"
            )
        change = Change()
        _resize(self._crews["worker"], instances, change)
        return change

    def follow(self, backlogs: Mapping[str, int | None], *, at_s: float) -> Change:
        """Have as many for each queue as its backlog asks for.

        Args:
            backlogs: messages not finished, by queue; None where that is not known now.
            at_s: as `poolhouse.pipeline.config.scaling.Scaler.decide` takes it.
        """
        assert self._autoscale is not None
        change = Change()
        for queue, backlog in backlogs.items():
            crew = self._crews[_stem_of(queue)]
            current = len(crew.members)
            wanted = self._autoscale.decide(at_s, queue=queue, backlog=backlog, current=current)
            wanted = min(wanted, current + max(0, MOST_WORKERS - len(self.members)))
            if wanted != current:
                self._say(f"{queue}: {backlog} tasks, {current} -> {wanted} workers")
                _resize(crew, wanted, change)
        return change

    def figures(self) -> tuple[QueueScale, ...]:
        """For `invoke status`; empty where the number does not follow the backlog."""
        if self._autoscale is None:
            return ()
        return self._autoscale.figures({queue: self._crews[_stem_of(queue)].ready for queue in self._queues})


def _stem_of(queue: str) -> str:
    """What the names of a queue's workers begin with, as `services.by_queue` has it."""
    return f"worker-{queue}"


def _crew(stem: str, spec: Spec, make: Callable[[str, Spec], Instance], *, instances: int) -> Crew:
    return Crew(stem, lambda name: make(name, spec), instances=instances)


def _resize(crew: Crew, instances: int, change: Change) -> None:
    more = instances - len(crew.members)
    if more > 0:
        change.added += crew.add(more)
    else:
        change.dismissed += crew.let_go(-more)
