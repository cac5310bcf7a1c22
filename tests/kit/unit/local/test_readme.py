"""What the README shows must work."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from poolhouse.project import ROOT
from poolhouse.testing.doubles import FakeContext
from poolhouse.worker import registry

README = (ROOT / "README.md").read_text()


def test_the_first_task_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert code is not None
    (tmp_path / "readme_greet.py").write_text(code[1])
    monkeypatch.syspath_prepend(tmp_path)
    handlers = registry.load(["readme_greet"])
    handler = handlers["greet"]
    assert handler.function(handler.parse({"name": "Ada"}), FakeContext()) == {"greeting": "Hello, Ada!"}
    with pytest.raises(ValueError, match="name"):
        handler.parse({"name": 1})
    sys.modules.pop("readme_greet")


def test_every_file_that_the_readme_links_to_is_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
