"""The spans of a task on one axis of time: what led to it, its own, and what followed from it. Pure.

Spans come from files that any process can write: parents may be missing or lead in circles, and times may be wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from poolhouse.local.console.task.axis import Bar, Period, Scale, Tick, elapsed
from poolhouse.pipeline import numbers
from poolhouse.pipeline.traces.spans import ATTEMPT, Span

#: Spans that are drawn at the most, the earliest ones; and how deep they are indented.
MOST_ROWS, MOST_DEPTH = 200, 8
#: OpenTelemetry's kinds of spans, each with a colour of its own.
_KINDS = frozenset({"server", "producer", "client", "consumer", "internal"})
#: What tells a span from all others.
_Key = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A span."""

    span: Span
    depth: int
    #: The wait before an attempt, and the span itself.
    bars: tuple[Bar, ...]
    took: str
    #: When it began, after the first span.
    began: str
    #: Its task, where that is neither the one shown nor the one of the row that it is below.
    leads_to: str | None = None
    #: The number of the attempt; None for any other span.
    attempt: int | None = None
    #: The span of the attempt before.
    retry_of: str | None = None


@dataclass(frozen=True, kw_only=True)
class Waterfall:
    """What the page draws."""

    rows: tuple[Row, ...]
    ticks: tuple[Tick, ...]
    #: Spans that are left out.
    hidden: int
    #: Whether a time in which nothing ran is drawn shorter than it was.
    shortened: bool


def of(spans: Sequence[Span], task_id: str) -> Waterfall | None:
    """Lay out the spans of a task's traces; None where none is the task's own."""
    nodes = list(_Tree(spans, task_id).nodes())
    if not nodes:
        return None
    shown = nodes[:MOST_ROWS]
    clock = _Clock(min(node.span.start_ns for node in shown))
    scale = Scale([clock.period(node.span.start_ns, node.span.end_ns) for node in shown], [])
    attempts = {
        (node.span.task_id, number): node.span.span_id for node in shown if (number := _attempt(node.span)) is not None
    }
    return Waterfall(
        rows=tuple(_row(node, scale, clock, attempts) for node in shown),
        ticks=scale.ticks(),
        hidden=len(nodes) - len(shown),
        shortened=scale.shortened,
    )


@dataclass(frozen=True)
class _Clock:
    """Nanoseconds since 1970 as seconds since the first span."""

    first_ns: int

    def period(self, start_ns: int, end_ns: int) -> Period:
        return Period((start_ns - self.first_ns) / 1e9, (end_ns - self.first_ns) / 1e9)


@dataclass(frozen=True)
class _Node:
    span: Span
    depth: int
    #: The end of its parent and of all before it below the same parent, by which what it waited for had come.
    after_ns: int | None
    leads_to: str | None


def _row(node: _Node, scale: Scale, clock: _Clock, attempts: Mapping[tuple[str | None, int], str]) -> Row:
    span, number = node.span, _attempt(node.span)
    period = clock.period(span.start_ns, span.end_ns)
    took = elapsed(period.end - period.start)
    bars = [scale.bar(period, took, kind="error" if span.failed else span.kind if span.kind in _KINDS else "internal")]
    if span.kind == "consumer" and node.after_ns is not None and node.after_ns < span.start_ns:
        wait = clock.period(node.after_ns, span.start_ns)
        bars.insert(0, scale.bar(wait, f"waited {elapsed(wait.end - wait.start)}", kind="waiting"))
    return Row(
        span=span,
        depth=min(node.depth, MOST_DEPTH),
        bars=tuple(bars),
        took=took,
        began=elapsed(period.start),
        leads_to=node.leads_to,
        attempt=number,
        retry_of=attempts.get((span.task_id, number - 1)) if number is not None else None,
    )


class _Tree:
    def __init__(self, spans: Iterable[Span], task_id: str) -> None:
        self._task_id = task_id
        self._spans: dict[_Key, Span] = {}
        for span in spans:
            self._spans.setdefault(_key(span), span)
        self._below: dict[_Key, list[Span]] = {}
        for span in sorted(self._spans.values(), key=_by_start):
            if (parent := self._parent(span)) is not None:
                self._below.setdefault(_key(parent), []).append(span)
        self._kept = self._keep()

    def nodes(self) -> Iterator[_Node]:
        """The spans that the task's page shows: each before those below it, these by their start."""
        shown: set[_Key] = set()
        kept = sorted((self._spans[key] for key in self._kept), key=_by_start)
        roots = [span for span in kept if (parent := self._parent(span)) is None or _key(parent) not in self._kept]
        for root in (*roots, *kept):  # where parents lead in circles, there is no root
            stack = [_Node(root, 0, None, self._leads_to(root, None))]
            while stack:
                node = stack.pop()
                key = _key(node.span)
                if key not in shown:
                    shown.add(key)
                    yield node
                    stack.extend(reversed(list(self._children(node))))

    def _children(self, node: _Node) -> Iterator[_Node]:
        after_ns = node.span.end_ns
        for span in self._below.get(_key(node.span), ()):
            if _key(span) in self._kept:
                yield _Node(span, node.depth + 1, after_ns, self._leads_to(span, node.span.task_id))
                after_ns = max(after_ns, span.end_ns)

    def _leads_to(self, span: Span, above: str | None) -> str | None:
        return None if span.task_id in {self._task_id, above} else span.task_id

    def _keep(self) -> set[_Key]:
        """The task's own spans, what led to each, and all that is below them."""
        own = [span for span in self._spans.values() if span.task_id == self._task_id]
        above: set[_Key] = set()
        for span in own:
            parent = self._parent(span)
            while parent is not None and _key(parent) not in above:
                above.add(_key(parent))
                parent = self._parent(parent)
        below: set[_Key] = set()
        stack = own
        while stack:
            key = _key(stack.pop())
            if key not in below:
                below.add(key)
                stack.extend(self._below.get(key, ()))
        return above | below

    def _parent(self, span: Span) -> Span | None:
        return None if span.parent_id is None else self._spans.get((span.trace_id, span.parent_id))


def _key(span: Span) -> _Key:
    return span.trace_id, span.span_id


def _by_start(span: Span) -> tuple[int, int]:
    return span.start_ns, -span.end_ns


def _attempt(span: Span) -> int | None:
    """Which attempt of its task it is; None where it is none."""
    return numbers.digits(span.attributes.get(ATTEMPT, ""), most=6) if span.kind == "consumer" else None
