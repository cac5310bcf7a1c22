"""`invoke mutants --name NAME`: change a module in small ways, one at a time, and see whether its tests notice."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from poolhouse.commands.output import out, plain
from poolhouse.commands.project import uv
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.exit_codes import OK
from poolhouse.project import ROOT

#: Which modules there are, and the tests of each.
MODULES = Path("tests") / "kit" / "mutants.toml"
#: uv lays it over the project's environment for this one run: nothing of it is installed there.
TOOL = "mutmut==3.8.1"
#: Its own dependencies as they were on this day: no version that was published later is run.
AS_OF = "2026-11-01T00:00:00Z"
#: A mutant that has not ended the tests after so many times their usual duration, and so long, hangs: it is noticed.
_TIMES, _SECONDS = 4, 5
#: Lines that mutmut leaves alone: no test is about the wording of the log.
_LOGGING = r"\b_log\.\w+\("
#: mutmut's words for a mutant that made a test fail, hang or crash, and for one that did not.
_NOTICED = frozenset({"killed", "timeout", "segfault"})
_UNNOTICED = frozenset({"survived", "no tests", "suspicious"})


def run(name: str, remainder: str = "", *, root: Path = ROOT) -> int:
    """Test the mutants of a module and print those that survive; list the modules if none is named.

    Args:
        name: a table of tests/kit/mutants.toml.
        remainder: patterns of the names of mutants, to test these alone.
        root: the repository; only a copy of it is changed.

    Returns:
        mutmut's exit code.

    Raises:
        ConfigError: there is no such module.
    """
    modules = tomllib.loads((root / MODULES).read_text(encoding="utf-8"))
    if not name:
        for known, module in modules.items():
            out.print(f"  {known:<14} {plain(', '.join(module['source']))}")
        return OK
    if name not in modules:
        raise ConfigError(f"there are no mutants {name!r} (there are: {', '.join(modules)})")
    with tempfile.TemporaryDirectory(prefix="poolhouse-mutants-") as folder:
        copy = Path(folder).resolve()
        _copy(root, copy)
        with (copy / "pyproject.toml").open("a", encoding="utf-8") as file:
            file.write(configuration(**modules[name], files=sorted(path.name for path in copy.iterdir())))
        if code := _mutmut(copy, "run", "--max-children", "1", *shlex.split(remainder)).returncode:
            return code
        _print_survivors(copy)
    return OK


def configuration(*, source: Sequence[str], tests: Sequence[str], files: Sequence[str]) -> str:
    """Return mutmut's table of pyproject.toml.

    Args:
        source: the files to change, as patterns.
        tests: the tests to run.
        files: what else the tests may read.
    """
    values = {
        "source_paths": sorted({pattern.partition("/")[0] for pattern in source}),
        "only_mutate": list(source),
        "also_copy": list(files),
        "do_not_mutate_patterns": [_LOGGING],
        "pytest_add_cli_args": ["-p", "no:cacheprovider"],
        "pytest_add_cli_args_test_selection": list(tests),
        "timeout_multiplier": float(_TIMES),
        "timeout_constant": float(_SECONDS),
    }
    return "\n[tool.mutmut]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())


def _copy(root: Path, to: Path) -> None:
    """Copy the files that git knows, and those it would add, as they are now."""
    listed = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in subprocess.check_output(listed, cwd=root, text=True).split("\0"):
        if name and (root / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, to / name)


def _print_survivors(copy: Path) -> None:
    """Print the changes that no test noticed, and the score."""
    listed = _mutmut(copy, "results", "--all", "true", stdout=subprocess.PIPE).stdout
    results = dict(line.strip().rsplit(": ", 1) for line in listed.splitlines())
    for mutant, result in results.items():
        if result in _UNNOTICED:
            out.print(plain(_mutmut(copy, "show", mutant, stdout=subprocess.PIPE).stdout.strip()), end="\n\n")
    counts = Counter(results.values())
    noticed = sum(counts[result] for result in _NOTICED)
    unnoticed = sum(counts[result] for result in _UNNOTICED)
    share = f" ({noticed / (noticed + unnoticed):.0%})" if noticed else ""
    out.print(f"{noticed} of {noticed + unnoticed} mutants noticed{share}")


def _mutmut(copy: Path, *arguments: str, stdout: int | None = None) -> subprocess.CompletedProcess[str]:
    """Call mutmut with the project's environment, at a low priority: it takes minutes."""
    words = uv.command(
        *("run", "--quiet", "--no-project", "--exclude-newer", AS_OF, "--python", sys.executable, "--with", TOOL),
        *("nice", "-n", "15", "mutmut", *arguments),
    )
    return subprocess.run(words, cwd=copy, env=uv.environment(), stdout=stdout, text=True, check=False)
