"""Modules that pipeline.toml names: whoever imports them tells what fails with file and line."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from poolhouse.api import application
from poolhouse.local.e2e import project
from poolhouse.pipeline.errors import ConfigError
from poolhouse.worker import registry

LOADERS: dict[str, Callable[[str], object]] = {
    "handlers": lambda name: registry.load([name]),
    "api": lambda name: application.load(f"{name}:create"),
    "e2e": lambda name: project.load([name]),
}


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def f(:\n", "module.py:1: SyntaxError"),
        ("import nowhere_to_be_found\n", "module.py:1: ModuleNotFoundError"),
        ("\n1 / 0\n", "module.py:2: ZeroDivisionError"),
        ("import sys\nsys.exit(3)\n", "module.py:2: SystemExit: 3"),
        ("import json\njson.loads('x')\n", "module.py:2: JSONDecodeError"),
        (
            "from poolhouse import Limit\nLimit(rate='often', max_concurrency=0)\n",
            "module.py:2: Limit: rate: 'often' is no rate",
        ),
    ],
    ids=["syntax", "import", "error", "exit", "library", "model"],
)
def test_whatever_fails_is_told_with_its_place(
    loader: str, text: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"broken_{loader}_module"
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        with pytest.raises(ConfigError, match=rf"{name} can't be imported: .*{re.escape(told)}"):
            LOADERS[loader](name)
    finally:
        sys.modules.pop(name, None)


def test_what_a_model_refuses_is_told_in_one_line_without_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "from poolhouse import Limit\n\nLimit(max_concurrency=0, colour='red')\n"
    (tmp_path / "broken_model_module.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError) as caught:
        registry.load(["broken_model_module"])
    assert str(caught.value).endswith(
        "module.py:3: Limit: max_concurrency: Input should be greater than or equal to 1; "
        "colour: Extra inputs are not permitted"
    )
