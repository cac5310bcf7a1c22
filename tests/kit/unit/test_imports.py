"""Which part may import which: the arrows of docs/architecture.md."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from poolhouse.project import ROOT

#: By part, what it may import of ours besides itself. A module belongs to the part with the longest name that fits.
ALLOWED = {
    "poolhouse_pubsub": (),
    "poolhouse.project": (),
    "poolhouse.pipeline": (),
    # A handler is the reference to its task type that callers use.
    "poolhouse.worker": ("poolhouse.pipeline", "poolhouse.client.task_type", "poolhouse.client.task_ref"),
    # The API checks payloads against the handlers' models; it runs none of them.
    "poolhouse.api": ("poolhouse.pipeline", "poolhouse.worker.plans", "poolhouse.worker.registry"),
    "poolhouse.client": ("poolhouse.pipeline",),
    # Hooks that need an optional extra.
    "poolhouse.telemetry": ("poolhouse.pipeline",),
    "poolhouse.local": ("poolhouse.client", "poolhouse.pipeline", "poolhouse.project", "poolhouse_pubsub"),
    # Chaos and the samples are task types of the local stack: they are written as a user writes them.
    "poolhouse.local.chaos": ("poolhouse", "poolhouse_pubsub"),
    "poolhouse.cloud": ("poolhouse.client", "poolhouse.pipeline"),
    "poolhouse.testing": ("poolhouse", "poolhouse_pubsub"),
    "poolhouse.commands": ("poolhouse", "poolhouse_pubsub"),
    # The program `poolhouse` is for installations of any size: what it imports at the top is the core's.
    "poolhouse.__main__": ("poolhouse",),
    "poolhouse": ("poolhouse.client", "poolhouse.pipeline", "poolhouse.worker"),
    "worker": ("poolhouse",),
    "api": ("poolhouse", "worker"),
    "local": ("poolhouse", "worker"),
    "tasks": ("poolhouse", "local"),
}
OURS = ("poolhouse", "poolhouse_pubsub", "worker", "api", "local", "tasks", "tests")
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for folder in ("poolhouse", "poolhouse_pubsub", "worker", "api", "local")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "templates" not in path.parts
}


def part_of(module: str) -> str:
    return max((part for part in ALLOWED if within(module, part)), key=len)


def within(module: str, part: str) -> bool:
    return module == part or module.startswith(f"{part}.")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            for name in node.names:
                full = f"{node.module}.{name.name}"
                yield node.lineno, full if full in MODULES else str(node.module)


@pytest.mark.parametrize("part", ALLOWED)
def test_a_part_imports_only_what_the_architecture_allows(part: str) -> None:
    wrong = []
    for module, path in MODULES.items():
        if part_of(module) != part:
            continue
        for line, imported in imports(path):
            if imported.split(".")[0] not in OURS or part_of(imported) == part:
                continue
            if not any(within(imported, allowed) for allowed in ALLOWED[part]):
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {imported}")
    assert wrong == []


def test_every_module_belongs_to_a_part() -> None:
    assert len(MODULES) > 300
    assert {part_of(module) for module in MODULES} >= {"poolhouse.api", "poolhouse_pubsub", "worker", "local"}


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        # What a module of task types imports, in a web application that only submits, too.
        (
            "poolhouse",
            {"google", "grpc", "requests", "fastapi", "starlette", "pydantic_settings", "opentelemetry", "asyncio"},
        ),
        ("poolhouse_pubsub", {"poolhouse", "fastapi", "starlette", "uvicorn", "requests", "grpc"}),
        ("poolhouse_pubsub.server", {"poolhouse", "fastapi", "starlette", "uvicorn", "requests"}),
    ],
)
def test_an_import_costs_no_library_that_it_does_not_need(module: str, unwanted: set[str]) -> None:
    program = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not unwanted & set(done.stdout.split())
