"""The table of docs/emulator.md: one row for each test, our emulator beside Google's."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

#: The table goes between these lines of the document.
BEGIN = "<!-- conformance table: begin (written by pytest --emulator-table) -->"
END = "<!-- conformance table: end -->"

_MARKS = {"passed": "✔", "xfailed": "✘", "failed": "fails", "skipped": "–", "xpassed": "passes unexpectedly"}

_ORDER = ("skipped", "passed", "xfailed", "xpassed", "failed")


class Table:
    """Collects outcomes while the tests run.

    Args:
        path: The document.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: dict[str, dict[str, dict[str, tuple[str, str]]]] = defaultdict(lambda: defaultdict(dict))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        row = dict(report.user_properties).get("emulator-row")
        if row is None or not (report.when == "call" or report.outcome != "passed"):
            return
        module, function, target = row
        reason = getattr(report, "wasxfail", "")
        outcome = report.outcome
        if hasattr(report, "wasxfail"):
            outcome = "xfailed" if report.skipped else "xpassed"
        # A test with several parameters is one row: what went worst with any of them.
        before = self._rows[module][function].get(target, ("skipped", ""))
        self._rows[module][function][target] = max(before, (outcome, reason), key=lambda each: _ORDER.index(each[0]))

    def pytest_sessionfinish(self) -> None:
        text = self._path.read_text(encoding="utf-8")
        head, _, rest = text.partition(BEGIN)
        _, _, tail = rest.partition(END)
        self._path.write_text(f"{head}{BEGIN}\n\n{self._render()}\n{END}{tail}", encoding="utf-8")

    def _render(self) -> str:
        lines = []
        totals: dict[str, list[int]] = {"ours": [0, 0], "google": [0, 0]}
        for module in sorted(self._rows):
            lines += [
                f"### {_title(module)}",
                "",
                "| behaviour of the service | ours | Google's | Google's deviation |",
            ]
            lines.append("| --- | --- | --- | --- |")
            for function, outcomes in self._rows[module].items():
                for target, (outcome, _) in outcomes.items():
                    totals[target][0] += outcome == "passed"
                    totals[target][1] += outcome != "skipped"
                marks = [_MARKS[outcomes.get(target, ("skipped", ""))[0]] for target in ("ours", "google")]
                reason = outcomes.get("google", ("", ""))[1]
                behaviour = function.removeprefix("test_").replace("_", " ")
                lines.append(f"| {behaviour} | {marks[0]} | {marks[1]} | {reason} |")
            lines.append("")
        summary = ", ".join(
            f"{name} {passed} of {ran}"
            for name, (passed, ran) in (("ours", totals["ours"]), ("Google's", totals["google"]))
        )
        return f"Behaviours that hold: {summary}.\n\n" + "\n".join(lines)


def _title(module: str) -> str:
    title = module.removeprefix("test_").replace("_", " ")
    return title[0].upper() + title[1:]
