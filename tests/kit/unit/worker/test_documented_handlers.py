"""The handlers in the documentation are handlers."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from poolhouse.project import ROOT
from poolhouse.worker.registry import load


@pytest.mark.parametrize(
    ("page", "task_types"),
    [
        ("delays.md", ["fetch"]),
        ("groups.md", ["alert", "bind_book", "render_book", "render_page"]),
        ("fairness.md", ["tenant_export"]),
        ("large-payloads.md", ["print_report"]),
        ("steps.md", ["import_rows", "subtitles"]),
        ("limits.md", ["book", "call_crm", "render"]),
        ("unique.md", ["index", "monthly_report"]),
    ],
)
def test_the_handlers_of_a_page_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str, task_types: list[str]
) -> None:
    code, *_ = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)
    (tmp_path / "documented_here.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "documented_here", raising=False)
    registry = load(["documented_here"])
    assert list(registry) == task_types
    sys.modules.pop("documented_here")


@pytest.mark.parametrize("page", ["steps.md"])
def test_the_tests_of_a_page_pass(page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    module = ModuleType("documented_tests")
    sys.modules[module.__name__] = module  # models look their annotations up there
    try:
        for code in re.findall(r"```python(?: test)?\n(.*?)```", text, re.DOTALL):
            exec(code, vars(module))
        tests = [value for name, value in vars(module).items() if name.startswith("test_")]
        assert tests
        for each in tests:
            each()
    finally:
        del sys.modules[module.__name__]
