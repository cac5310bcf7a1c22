"""`poolhouse new PATH`: a repository that holds a team's own code, and the kit as a dependency."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from importlib.resources import files as resources
from importlib.resources.abc import Traversable
from pathlib import Path

from poolhouse.commands.project import project_files, wheels
from poolhouse.pipeline import kit
from poolhouse.pipeline.errors import ConfigError

#: Lock files of a project without dependencies of its own, made by `invoke lock` in the kit's repository, and which of
#: the kit's distributions each lacks.
LOCKS = {
    "requirements.lock": ("poolhouse",),
    "requirements-dev.lock": ("poolhouse", "poolhouse-pubsub"),
    "requirements-pubsub.lock": ("poolhouse-pubsub",),
}
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
MAX_NAME_LENGTH = 30
#: Files that may be in the folder already.
_MAY_BE_THERE = {".git", ".gitignore", ".DS_Store", "README.md", "LICENSE"}


def create(path: Path, *, name: str | None = None, example: str | None = None) -> list[str]:
    """Write a project; returns the paths of its files.

    Args:
        path: its folder: new, or with nothing in it but what a fresh repository has.
        name: the project's; None: the folder's.
        example: whose code it starts with, one of `project_files.examples()`; None: with a first task type.

    Raises:
        ConfigError: the name can't be, there is no such example, the folder holds files, or the kit's wheels can't be
            made; nothing is left.
    """
    name = check_name(name or path.resolve().name)
    present = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []
    if path.exists() and not path.is_dir():
        raise ConfigError(f"{path} is a file: name a new folder")
    others = [entry for entry in present if entry not in _MAY_BE_THERE]
    if others:
        raise ConfigError(f"{path} is not empty ({', '.join(others[:5])}): name a new folder")
    texts = project_files.render(name=name, version=kit.version(), example=example)
    texts = {file: text for file, text in texts.items() if file not in present}
    with tempfile.TemporaryDirectory(prefix="poolhouse-") as folder:
        built = wheels.put(Path(folder))  # may fail: before anything is in the project
        vendor = path / "vendor"
        vendor.mkdir(parents=True, exist_ok=True)
        made = [Path(shutil.copy(wheel, vendor)) for wheel in built]
    project_files.write(path, texts)
    write_locks(path, made)
    return sorted([*texts, *LOCKS, *(str(wheel.relative_to(path)) for wheel in made)])


def check_name(name: str) -> str:
    """Return the name. Raises `ConfigError` where a pipeline can't have it."""
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME_LENGTH:
        raise ConfigError(
            f"{name!r} can't name a project: up to {MAX_NAME_LENGTH} lowercase letters, digits and '-', beginning with "
            "a letter, such as photo-shop (--name NAME takes the place of the folder's name)"
        )
    return name


def write_locks(root: Path, made: list[Path]) -> None:
    """Write the lock files: what the kit was tested with, and the kit's own wheels by their hashes."""
    own = {wheel.name.split("-")[0].replace("_", "-"): wheel for wheel in made}
    for lock, names in LOCKS.items():
        text = _lock(lock).read_text(encoding="utf-8")
        entries = [entry for entry in re.split(r"^(?=\S)", text, flags=re.MULTILINE) if entry]
        for name in names:
            digest = hashlib.sha256(own[name].read_bytes()).hexdigest()
            entries.append(f"{name}=={own[name].name.split('-')[1]} \\\n    --hash=sha256:{digest}\n")
        (root / lock).write_text("".join(sorted(entries, key=_name_of)), encoding="utf-8")


def _lock(name: str) -> Traversable:
    """A lock file as a project begins with it: the emulator's is also this repository's own."""
    own = resources("poolhouse") / "templates" / name
    return own if own.is_file() else kit.CHECKOUT / name


def _name_of(entry: str) -> str:
    """What a lock file is sorted by, so that the first `invoke lock` of a project changes nothing."""
    return re.split(r"[=\[ ;]", entry, maxsplit=1)[0]
