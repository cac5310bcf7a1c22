"""One test of a handler, run once for each point where a worker can die or a call can fail."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from poolhouse.pipeline import names
from poolhouse.pipeline.store import ObjectStore
from poolhouse.pipeline.tasks.record_store import RecordStore
from poolhouse.pipeline.tasks.records import Status
from poolhouse.pipeline.tasks.task_ids import TaskIds
from poolhouse.testing.calls import CrashPoint
from poolhouse.testing.surroundings import Submission

#: Failures that are told in full.
TOLD = 20
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?")


@dataclass(frozen=True)
class Effects:
    """What a turn came to: the tasks and their ends, and the objects that handlers have written."""

    tasks: tuple[str, ...]
    objects: tuple[tuple[str, bytes], ...]

    def differences(self, other: Effects) -> list[str]:
        """What is otherwise in `other`, a line each."""
        lines = [f"missing: {each}" for each in _without(self.tasks, other.tasks)]
        lines += [f"not in the undisturbed turn: {each}" for each in _without(other.tasks, self.tasks)]
        mine, others = dict(self.objects), dict(other.objects)
        for name in sorted(mine.keys() | others.keys()):
            if mine.get(name) != others.get(name):
                lines.append(f"object {name}: {_short(others.get(name))}, not {_short(mine.get(name))}")
        return lines


@dataclass
class Turn:
    """One run of the loop's body. Entered once."""

    #: Where a worker dies or a call fails; None in the first, undisturbed turn.
    point: CrashPoint | None
    _finish: Callable[[], Effects]
    effects: Effects | None = None
    failure: str | None = None
    _entered: bool = field(default=False, init=False)

    def __enter__(self) -> Turn:
        self._entered = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if self.point is None:
            if error is None:
                self.effects = self._finish()
            return False  # an undisturbed run that fails is an ordinary failure
        if error is None:
            try:
                self.effects = self._finish()
            except AssertionError as unfinished:
                self.failure = str(unfinished)
            return False
        if isinstance(error, Exception):
            self.failure = f"{type(error).__name__}: {error}".rstrip(": ").partition("\n")[0]
            return True
        return False


def turns(
    begin: Callable[[CrashPoint | None], None], finish: Callable[[], Effects], points: Callable[[], list[CrashPoint]]
) -> Iterator[Turn]:
    """Yield the turns; raise `AssertionError` at the end where some came to something else.

    Args:
        begin: empties the pipeline, and arms a point.
        finish: runs what is left, and tells what came of the turn.
        points: those of the turn that has just ended.
    """
    begin(None)
    first = Turn(None, finish)
    yield first
    if not first._entered or first.effects is None:
        raise RuntimeError("write `with turn:` in the loop over crash_points()")
    failures: list[str] = []
    found = points()
    for point in found:
        begin(point)
        turn = Turn(point, finish)
        yield turn
        if turn.effects is not None and not turn.failure:
            turn.failure = "\n    ".join(first.effects.differences(turn.effects)) or None
        if turn.failure:
            failures.append(f"  {point}\n    {turn.failure}")
    more = f"\n  and {len(failures) - TOLD} more" if len(failures) > TOLD else ""
    assert not failures, (
        f"not repeatable: the effects differ at {len(failures)} of {len(found)} crash points, where\n"
        + "\n".join(failures[:TOLD])
        + more
    )


def effects_of(bucket: ObjectStore, submitted: Sequence[Submission], *, task_ids: TaskIds, results: bool) -> Effects:
    """Return what a turn came to, without what differs from turn to turn: ids of tasks and groups, and times.

    Args:
        submitted: its tasks.
        task_ids: made their ids.
        results: whether results count.
    """
    same = _labels(submitted, task_ids)
    tasks = []
    for each in submitted:
        stored = RecordStore(bucket).read(each.task_id)
        shown = f"{each.task_type} {_payload(each)}"
        if stored is not None:
            shown += f" {stored.record.status}"
        if stored is not None and results and stored.record.status is Status.SUCCEEDED:
            kept = stored.record.result_object
            result = stored.record.result if kept is None else json.loads(bucket.get(kept.name)[0])
            shown += f" {json.dumps(result, sort_keys=True)}"
        tasks.append(_without_chance(shown, same))
    found: list[tuple[str, bytes]] = []
    token: str | None = None
    while True:
        page = bucket.list("", page_token=token)
        found += [
            (_without_chance(info.name, same), bucket.get(info.name)[0])
            for info in page.objects
            if not info.name.startswith(names.OF_THE_KIT)
        ]
        token = page.next_token
        if token is None:
            return Effects(tuple(sorted(tasks)), tuple(sorted(found)))


def _labels(submitted: Sequence[Submission], task_ids: TaskIds) -> dict[str, str]:
    """What stands for the ids of a turn: of its tasks, and of the groups that they belong to."""
    labels: dict[str, str] = {}
    groups: dict[str, set[str]] = {}
    for each in submitted:  # in order: a payload has ids of earlier tasks alone
        label = labels[each.task_id] = _without_chance(f"<{each.task_type} {_payload(each)}>", labels)
        # Any id has a group; one that was never made is nowhere else.
        groups.setdefault(task_ids.place_of(each.task_id)[0], set()).add(label)
    return labels | {group_id: f"<group of {min(members)}>" for group_id, members in groups.items()}


def _payload(task: Submission) -> str:
    return json.dumps(dict(task.payload), sort_keys=True)


def _without_chance(text: str, same: Mapping[str, str]) -> str:
    for task_id, label in same.items():
        text = text.replace(task_id, label)
    return _TIME.sub("<time>", text)


def _without(these: tuple[str, ...], those: tuple[str, ...]) -> list[str]:
    left = list(those)
    missing = []
    for each in these:
        if each in left:
            left.remove(each)
        else:
            missing.append(each)
    return missing


def _short(data: bytes | None) -> str:
    return "absent" if data is None else repr(data[:80])
