"""The files that the kit gives a project: what `poolhouse new` writes and `invoke upgrade` keeps up to date."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files as resources
from importlib.resources.abc import Traversable
from pathlib import Path

from poolhouse.local.compose import workers
from poolhouse.pipeline import kit, text_files
from poolhouse.pipeline.config import topology
from poolhouse.pipeline.errors import ConfigError

#: Remembers what was written: a file that differs from it has been edited.
MANIFEST = ".poolhouse.json"
#: Files that this repository and every project share; a wheel carries them in poolhouse/templates/shared.
SHARED = (
    ".dockerignore",
    ".editorconfig",
    ".gitattributes",
    ".github/dependabot.yml",
    ".github/workflows/supply-chain.yml",
    ".wheelhouse/.gitignore",
    ".wheelhouse/README.md",
    "Dockerfile",
    "docker-compose.yml",
    "invoke",
    "local/bootstrap.py",
)
#: Templates that only start a project: they are the user's from then on.
STARTERS = ("README.md", "pipeline.toml", "pyproject.toml", "tasks.py", "worker/", "api/", "local/e2e/", "tests/")
#: Templates of the task type that a project starts with, which one that starts as an example has no use for.
_FIRST_TASK_TYPE = ("worker/handlers/greet.py", "tests/unit/", "local/e2e/cases.py")
#: In an example's folder: the packages that it needs beside the kit, one a line.
_REQUIREMENTS = "requirements.txt"
#: Has the project's own queues in it, which `invoke compose-file` renews: that is no edit.
_COMPOSE_FILE = "docker-compose.yml"
#: Names in the templates' folder that would mean something there.
_RENAMED = {
    "gitignore": ".gitignore",
    "github": ".github",
    "pre-commit-config.yaml": ".pre-commit-config.yaml",
    "pyproject.txt": "pyproject.toml",
}
_EXECUTABLE = {"invoke"}
#: Lines that only this repository has, which holds the kit itself, and lines that only a project has.
_KIT_ONLY = re.compile(r"^[ \t]*# kit: [^\n]*\n.*?^[ \t]*# end of kit\n", re.MULTILINE | re.DOTALL)
_PROJECT_ONLY = re.compile(r"^([ \t]*)#project\| ?", re.MULTILINE)


@dataclass
class Changes:
    """What an update did."""

    written: list[str] = field(default_factory=list)
    #: Edited files, with the difference between the version that was written and the new one.
    edited: dict[str, str] = field(default_factory=dict)


def render(*, name: str, version: str, example: str | None = None) -> dict[str, str]:
    """Return the text of every file of a project, by path.

    Args:
        name: the project's, also the pipeline's.
        version: of the kit.
        example: whose code it starts with, one of `examples()`; None: with a first task type.

    Raises:
        ConfigError: there is no such example.
    """
    texts = dict(_read(resources("poolhouse") / "templates" / "project"))
    texts |= {path: for_project(text) for path, text in _shared()}
    if example is not None:
        texts = _started_as(example, texts)
    return {path: text.replace("@NAME@", name).replace("@VERSION@", version) for path, text in sorted(texts.items())}


def examples() -> list[str]:
    """Return the names of the examples that a project can start as."""
    return sorted(entry.name for entry in _examples().iterdir() if entry.is_dir())


def requirements(example: str) -> list[str]:
    """Return the packages that an example needs beside the kit. Raises `ConfigError` where there is no such example."""
    return dict(_example(example)).get(_REQUIREMENTS, "").splitlines()


def for_project(text: str) -> str:
    """Return a shared file as a project has it: without the kit's own lines, with those that only projects have."""
    return _PROJECT_ONLY.sub(r"\1", _KIT_ONLY.sub("", text))


def write(root: Path, texts: Mapping[str, str]) -> None:
    """Write files, and remember them."""
    for path, text in with_queues(texts, texts["pipeline.toml"]).items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        if path in _EXECUTABLE:
            target.chmod(0o755)
    remember(root, texts)


def with_queues(texts: Mapping[str, str], pipeline: str) -> dict[str, str]:
    """Return the texts with the workers of a pipeline.toml in the Compose file. Raises `ConfigError`."""
    return {**texts, _COMPOSE_FILE: workers.renewed(texts[_COMPOSE_FILE], topology.parse(pipeline))}


def remember(root: Path, texts: Mapping[str, str]) -> None:
    """Note what was written, by path: those files that an update looks at."""
    kept = {path: _digest(path, text) for path, text in texts.items() if not path.startswith(STARTERS)}
    manifest = {"about": "written by Poolhouse; invoke upgrade reads it", "files": kept}
    (root / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def update(root: Path, texts: Mapping[str, str]) -> Changes:
    """Bring the files of a project up to date; edited ones are left as they are.

    Args:
        root: the project.
        texts: from `render`, of the kit that is installed now.

    Raises:
        ConfigError: a file can't be read, or pipeline.toml is none; the files read before may be written then.
    """
    texts = with_queues(texts, text_files.read(root / "pipeline.toml"))
    written = _manifest(root)
    changes = Changes()
    for path, text in texts.items():
        if path.startswith(STARTERS):
            continue
        target = root / path
        present = text_files.read(target) if target.exists() else None
        if present == text:
            continue
        if present is None and path in written:
            continue  # deleted by its owner
        if present is not None and _digest(path, present) != written.get(path):
            if _digest(path, text) != written.get(path):
                difference = difflib.unified_diff(
                    present.splitlines(keepends=True),
                    text.splitlines(keepends=True),
                    f"{path} (yours)",
                    f"{path} (new)",
                )
                changes.edited[path] = "".join(difference)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        changes.written.append(path)
    remember(root, texts)
    return changes


def check(root: Path) -> None:
    """Check that the files which an update reads can be read. Raises `ConfigError`."""
    _manifest(root)
    text_files.read_toml(root / "pyproject.toml")
    topology.parse(text_files.read(root / "pipeline.toml"))
    for path in SHARED:
        if (root / path).exists():
            text_files.read(root / path)


def _manifest(root: Path) -> dict[str, str]:
    """The digests of what was written, by path."""
    try:
        files = json.loads(text_files.read(root / MANIFEST))["files"]
    except (ValueError, LookupError, TypeError) as error:
        raise ConfigError(
            f"{root / MANIFEST} is not as Poolhouse wrote it ({error}): take it from an earlier commit"
        ) from None
    if not isinstance(files, dict):
        raise ConfigError(f"{root / MANIFEST} is not as Poolhouse wrote it: take it from an earlier commit")
    return files


def _digest(path: str, text: str) -> str:
    text = workers.without_queues(text) if path == _COMPOSE_FILE else text
    return hashlib.sha256(text.encode()).hexdigest()


def _started_as(example: str, texts: Mapping[str, str]) -> dict[str, str]:
    """Lay an example's files over those of a new project."""
    texts = {path: text for path, text in texts.items() if not path.startswith(_FIRST_TASK_TYPE)}
    own = dict(_example(example))
    own.pop(_REQUIREMENTS, None)
    own["pipeline.toml"] = re.sub(r'^name = "[^"]*"', 'name = "@NAME@"', own["pipeline.toml"], flags=re.MULTILINE)
    needed = "".join(f'    "{package}",\n' for package in requirements(example))
    own["pyproject.toml"] = texts["pyproject.toml"].replace("dependencies = [\n", f"dependencies = [\n{needed}", 1)
    return {**texts, **own}


def _example(name: str) -> list[tuple[str, str]]:
    if name not in examples():
        raise ConfigError(f"there is no example {name!r} (there are: {', '.join(examples())})")
    return _read(_examples() / name)


def _examples() -> Traversable:
    return kit.CHECKOUT / "examples" if kit.is_checkout() else resources("poolhouse") / "templates" / "examples"


def _read(root: Traversable) -> list[tuple[str, str]]:
    """The files below a folder of templates, by the paths that they have in a project."""
    found: list[tuple[str, str]] = []

    def walk(folder: Traversable, prefix: str) -> None:
        for entry in folder.iterdir():
            path = f"{prefix}{_RENAMED.get(entry.name, entry.name)}"
            if entry.is_dir():
                if entry.name != "__pycache__":
                    walk(entry, f"{path}/")
            elif not entry.name.endswith(".pyc"):
                found.append((path, entry.read_text(encoding="utf-8")))

    walk(root, "")
    return found


def _shared() -> list[tuple[str, str]]:
    if kit.is_checkout():
        return [(path, (kit.CHECKOUT / path).read_text(encoding="utf-8")) for path in SHARED]
    folder = resources("poolhouse") / "templates" / "shared"
    return [(path, (folder / path).read_text(encoding="utf-8")) for path in SHARED]
