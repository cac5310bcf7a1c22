"""Tables of what emulators do: one row for each test of a suite, a column for each server that it ran on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

_MARKS = {"passed": "✔", "xfailed": "✘", "failed": "fails", "skipped": "–", "xpassed": "passes unexpectedly"}

_ORDER = ("skipped", "passed", "xfailed", "xpassed", "failed")


@dataclass(frozen=True)
class Column:
    """A server."""

    heading: str
    #: In the sum above the tables; None: the heading.
    title: str | None = None


class Table:
    """Collects outcomes while the tests run, and writes them to a document.

    A test belongs to it whose report has the user property `row`: its module, function, server, and a note, which may
    be empty.

    Args:
        path: The document.
        option: The one of pytest that asks for it; named in the document.
        row: Name of the user property.
        columns: The servers, by the name that reports have.
        deviation: Heading of the last column: why a test fails on a server.
        note: Heading of the column of notes; None: no such column.
    """

    def __init__(
        self,
        path: Path,
        *,
        option: str,
        row: str,
        columns: Mapping[str, Column],
        deviation: str = "deviation",
        note: str | None = None,
    ) -> None:
        self._path = path
        self._begin = f"<!-- conformance table: begin (written by pytest {option}) -->"
        self._end = "<!-- conformance table: end -->"
        self._row = row
        self._columns = columns
        self._deviation = deviation
        self._note = note
        self._rows: dict[str, dict[str, dict[str, tuple[str, str]]]] = defaultdict(lambda: defaultdict(dict))
        self._notes: dict[tuple[str, str], str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        row = dict(report.user_properties).get(self._row)
        if row is None or not (report.when == "call" or report.outcome != "passed"):
            return
        module, function, target, note = row
        reason = getattr(report, "wasxfail", "")
        outcome = report.outcome
        if hasattr(report, "wasxfail"):
            outcome = "xfailed" if report.skipped else "xpassed"
        # A test with several parameters is one row: what went worst with any of them.
        before = self._rows[module][function].get(target, ("skipped", ""))
        self._rows[module][function][target] = max(before, (outcome, reason), key=lambda each: _ORDER.index(each[0]))
        self._notes[module, function] = note

    def pytest_sessionfinish(self) -> None:
        text = self._path.read_text(encoding="utf-8")
        head, _, rest = text.partition(self._begin)
        _, _, tail = rest.partition(self._end)
        self._path.write_text(f"{head}{self._begin}\n\n{self._render()}\n{self._end}{tail}", encoding="utf-8")

    def _render(self) -> str:
        headings = ["behaviour of the service", *([self._note] if self._note else [])]
        headings += [*(column.heading for column in self._columns.values()), self._deviation]
        lines = []
        totals = {target: [0, 0] for target in self._columns}
        for module in sorted(self._rows):
            lines += [f"### {_title(module)}", "", _cells(headings), _cells(["---"] * len(headings))]
            for function, outcomes in self._rows[module].items():
                for target, (outcome, _) in outcomes.items():
                    totals[target][0] += outcome == "passed"
                    totals[target][1] += outcome != "skipped"
                marks = [_MARKS[outcomes.get(target, ("skipped", ""))[0]] for target in self._columns]
                reason = next((reason for _, reason in outcomes.values() if reason), "")
                notes = [self._notes[module, function]] if self._note else []
                lines.append(_cells([function.removeprefix("test_").replace("_", " "), *notes, *marks, reason]))
            lines.append("")
        summary = ", ".join(
            f"{column.title or column.heading} {totals[target][0]} of {totals[target][1]}"
            for target, column in self._columns.items()
        )
        return f"Behaviours that hold: {summary}.\n\n" + "\n".join(lines)


def _cells(texts: list[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _title(module: str) -> str:
    title = module.removeprefix("test_").replace("_", " ")
    return title[0].upper() + title[1:]
