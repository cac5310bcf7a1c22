"""`invoke new-task NAME`: a handler with its payload model, its test, and a line in the README."""

from __future__ import annotations

import keyword
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from string import Template

from rich.markup import escape

from poolhouse.commands import restart
from poolhouse.commands.terminal import Terminal
from poolhouse.pipeline import text_files
from poolhouse.pipeline.config import topology
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.exit_codes import OK
from poolhouse.project import ROOT

_TEMPLATES = Path(__file__).with_name("templates")
#: Longest name that reads well in a listing.
MAX_NAME_LENGTH = 30
#: Names that the generated files use themselves.
_TAKEN = frozenset(
    {"annotations", "ctx", "payload", "pytest", "registry", "task", "Annotated", "BaseModel", "FakeContext", "Field"}
    | {"Payload", "TaskCancelled", "TaskContext", "ValidationError"}
)
#: The README's list of task types begins below this line.
README_HEADING = "## Task types"


@dataclass(frozen=True)
class Names:
    """The names of a new task type."""

    task_type: str

    @property
    def model(self) -> str:
        """The payload model's name: `MakeReport` of `make_report`."""
        return "".join(part.capitalize() for part in self.task_type.split("_"))

    @property
    def handler(self) -> Path:
        """Where the handler goes."""
        return Path("worker") / "handlers" / f"{self.task_type}.py"

    @property
    def test(self) -> Path:
        """Where its test goes."""
        return Path("tests") / "unit" / "handlers" / f"test_{self.task_type}.py"


def names(name: str) -> Names:
    """The names that follow from what was typed; `make-report` is `make_report`.

    Raises:
        ConfigError: it can't be the name of a Python module and function.
    """
    task_type = name.strip().replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", task_type) or len(task_type) > MAX_NAME_LENGTH:
        raise ConfigError(
            f"{name!r} can't name a task: up to {MAX_NAME_LENGTH} small letters, digits and _, such as make_report"
        )
    new = Names(task_type)
    taken = keyword.iskeyword(task_type) or task_type in _TAKEN or new.model in _TAKEN
    if taken or task_type.startswith("test"):  # pytest would run the handler as a test
        raise ConfigError(f"{name!r} can't name a task: the word means something else in its code; try run_{task_type}")
    return new


def with_line(readme: str, line: str) -> str | None:
    """The README with a line at the end of its list of task types; None where it has no such list."""
    lines = readme.split("\n")
    try:
        start = lines.index(README_HEADING) + 1
    except ValueError:
        return None
    end = next((number for number in range(start, len(lines)) if lines[number].startswith("#")), len(lines))
    entries = [number for number in range(start, end) if lines[number].startswith("- ")]
    if not entries:
        return None
    last = entries[-1] + 1
    while last < end and lines[last].startswith("  "):  # an entry that goes on
        last += 1
    return "\n".join([*lines[:last], line, *lines[last:]])


def write(name: str, *, queue: str = "", root: Path = ROOT) -> tuple[Names, list[Path]]:
    """Write the files of a new task type; returns their paths, below `root`.

    Args:
        name: the task type.
        queue: of its tasks; empty: the pipeline's default.
        root: the project.

    Raises:
        ConfigError: the name or the queue can't be, or one of the files is there; nothing is written then.
    """
    new = names(name)
    declared = topology.load(root / "pipeline.toml").by_name
    if queue and queue not in declared:
        raise ConfigError(f"there is no queue {queue!r} in pipeline.toml (queues: {', '.join(declared)})")
    for path in (new.handler, new.test):
        if (root / path).exists():
            raise ConfigError(f"{path} is there already: choose another name, or delete it first")
    decorator = f'"{new.task_type}"' + (f', queue="{queue}"' if queue else "")
    values = {
        "task_type": new.task_type,
        "module": new.task_type,
        "function": new.task_type,
        "model": new.model,
        "decorator": decorator,
    }
    written = []
    for path, template in ((new.handler, "handler.txt"), (new.test, "test.txt")):
        text = Template((_TEMPLATES / template).read_text(encoding="utf-8")).substitute(values)
        with (root / path).open("x", encoding="utf-8") as file:  # never over another's file
            file.write(text)
        written.append(path)
    # How a line breaks depends on the length of the name.
    # The kit is third-party code in a project, and is not in the kit's repository: imports are sorted otherwise.
    for words in (("check", "--fix", "--select", "I"), ("format",)):
        # Where ruff is not installed, or its settings are wrong, the files are all right, and only less tidy.
        subprocess.run([sys.executable, "-m", "ruff", *words, "--quiet", *map(str, written)], cwd=root, check=False)
    readme = root / "README.md"
    line = f"- [`{new.task_type}`]({new.handler.as_posix()}): say here what it does."
    changed = with_line(text_files.read(readme), line) if readme.exists() else None
    if changed is not None:
        readme.write_text(changed, encoding="utf-8")
        written.append(Path("README.md"))
    return new, written


def run(name: str, *, queue: str = "", root: Path = ROOT, state_dir: Path | None = None) -> int:
    """Write the files, and say what to do next."""
    terminal = Terminal()
    new, written = write(name, queue=queue, root=root)
    for path in written:
        terminal.line(str(path))
    again = restart.command(state_dir)
    live = f"{again}      # saved code is live at once" if again else "# the stack that is up has it live at once"
    terminal.say(
        escape(
            f"""next:
  ./invoke test -- {new.test}
  {live}
  ./invoke submit {new.task_type} 'items=["one", "three"]' --watch"""
        )
    )
    return OK
