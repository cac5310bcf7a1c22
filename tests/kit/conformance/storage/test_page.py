"""The page about the storage server."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from poolhouse.project import ROOT

PAGE = ROOT / "docs" / "storage-emulator.md"


def test_it_has_a_row_for_each_test_with_the_reason_of_its_deviation(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--storage-table", None) is not None:
        pytest.skip("this run writes them")
    page = PAGE.read_text(encoding="utf-8")
    rows = 0
    for module in sorted(Path(__file__).parent.glob("test_*.py")):
        for function in ast.parse(module.read_text(encoding="utf-8")).body:
            if not isinstance(function, ast.FunctionDef) or not function.name.startswith("test_"):
                continue
            if not {"bucket", "target"} & {argument.arg for argument in function.args.args}:
                continue
            row = _row(page, function.name)
            for mark in function.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func).endswith(("_deviates", "_deviate")):
                    assert ast.literal_eval(mark.args[0]) in row, row
            rows += 1
    assert rows > 70


def _row(page: str, test: str) -> str:
    begin = f"| {test.removeprefix('test_').replace('_', ' ')} |"
    found = [line for line in page.splitlines() if line.startswith(begin)]
    assert len(found) == 1, f"{PAGE} has {len(found)} rows of {test}: pytest --storage-table writes them"
    return found[0]
