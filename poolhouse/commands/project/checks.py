"""Run the tests, the checks and the benchmarks of a project."""

from __future__ import annotations

import ast
import os
import shlex
import subprocess
import sys
from pathlib import Path

from poolhouse.commands.output import out, plain
from poolhouse.local.processes import environment
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.exit_codes import OK
from poolhouse.project import ROOT

#: Where all tests of a project are.
TESTS = "tests"
#: Only the kit's own repository has them.
IMPORT_RULES = Path(TESTS) / "kit" / "unit" / "test_imports.py"


def test(remainder: str, everything: bool) -> int:
    """Run pytest's `testpaths`, or everything below tests/; `remainder` goes to pytest."""
    return _python("pytest", *pytest_arguments(remainder, everything=everything))


def check() -> int:
    """Check the declaration, format, lint, types and, in the kit's repository, imports; the first failure ends it.

    Raises:
        ConfigError: the handlers and pipeline.toml don't fit together.
    """
    from poolhouse.commands.project import declaration  # noqa: PLC0415 - no other command imports handlers

    declaration.check()
    checks = [("ruff", "format", "--check", "--quiet", "."), ("ruff", "check", "--quiet", "."), ("mypy",)]
    if (ROOT / IMPORT_RULES).is_file():
        checks.append(("pytest", "-q", "--no-header", str(IMPORT_RULES)))
    return next(filter(None, (_python(*words) for words in checks)), OK)


def bench(name: str, arguments: str) -> int:
    """Run a benchmark from the folders `bench` below tests/; list them if none is named."""
    found = {path.stem: path for path in sorted((ROOT / TESTS).glob("**/bench/[!_]*.py"))}
    if not name:
        for stem, path in found.items():
            out.print(f"  {stem:<16} {plain(_first_line(path))}")
        return OK
    if name not in found:
        raise ConfigError(f"there is no benchmark {name!r} (there are: {', '.join(found)})")
    module = ".".join(found[name].relative_to(ROOT).with_suffix("").parts)
    return _python(module, *shlex.split(arguments))


def _first_line(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]


def _python(module: str, *arguments: str) -> int:
    """Run a module in the project's root, whatever the checkout is called. Returns its exit code."""
    command = (sys.executable, "-m", module, *arguments)
    return subprocess.run(command, cwd=ROOT, env=environment.child(), check=False).returncode


def pytest_arguments(remainder: str, *, everything: bool = False) -> list[str]:
    """Return what `invoke test -- ARGUMENTS` passes to pytest: the given arguments, and others before them."""
    given = [*([TESTS] if everything else []), *shlex.split(remainder)]
    if any(part.startswith(("-n", "--pdb")) for part in given):
        return given
    # Groups: tests that share a whole stack run in one process, so that there is one stack.
    return ["-n", _test_processes(), "--dist", "loadgroup", *given]


def _test_processes() -> str:
    return str(max(2, os.cpu_count() or 2))
