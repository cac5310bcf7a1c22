"""`invoke upgrade`: move a project to another version of the kit."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.resources import files as resources
from pathlib import Path

from poolhouse.commands.project import lock, new_project, project_files
from poolhouse.pipeline import kit, text_files
from poolhouse.pipeline.errors import ConfigError, PoolhouseError
from poolhouse.project import ROOT

_WHEEL = re.compile(r"poolhouse-(?P<version>[^-]+)-py3-none-any\.whl")
_PIN = re.compile(r"(poolhouse==)[^\"'\s]+")


def run(to: str, *, root: Path = ROOT) -> int:
    """Take the new version, install it, and let it bring the project's files up to date.

    Args:
        to: a version, or the path of poolhouse's wheel; poolhouse-pubsub's must be beside it.
        root: the project.

    Raises:
        ConfigError: this is no project of `poolhouse new`, or there is no such version; nothing is changed then.
    """
    if not (root / project_files.MANIFEST).is_file():
        raise ConfigError(
            f"{root} has no {project_files.MANIFEST}: only a project that `poolhouse new` wrote can be upgraded"
        )
    before = kit.version()
    project_files.check(root)
    saved = {
        name: (root / name).read_bytes()
        for name in ("pyproject.toml", *new_project.LOCKS)
        if (root / name).exists()  # a lock file that is gone is made anew
    }
    vendor = root / "vendor"
    kept = {path: path.read_bytes() for path in vendor.glob("poolhouse*.whl")}
    try:
        version = _vendor(Path(to), vendor) if to.endswith(".whl") else _from_index(to, kept)
        text = text_files.read(root / "pyproject.toml")
        if not _PIN.search(text):
            raise ConfigError("pyproject.toml has no dependency poolhouse==VERSION")
        (root / "pyproject.toml").write_text(_PIN.sub(rf"\g<1>{version}", text), encoding="utf-8")
        lock.compile_all(root)
    except BaseException:
        for name, data in saved.items():
            (root / name).write_bytes(data)
        for path in vendor.glob("poolhouse*.whl"):
            path.unlink()
        for path, data in kept.items():
            path.write_bytes(data)
        raise
    # The launcher makes the environment anew, and the new version does the rest.
    ended = subprocess.run((str(root / "invoke"), "--version"), cwd=root, stdout=subprocess.DEVNULL, check=False)
    if ended.returncode != 0:
        return ended.returncode
    command = (sys.executable, "-m", "poolhouse.commands.upgrade", before)
    return subprocess.run(command, cwd=root, check=False).returncode


def refresh(before: str, *, root: Path = ROOT) -> int:
    """Bring the files of the project up to date with this version; print what changed since another.

    Args:
        before: the version that the project had.
        root: the project.
    """
    name = text_files.read_toml(root / "pyproject.toml")["project"]["name"]
    changes = project_files.update(root, project_files.render(name=name, version=kit.version()))
    print(f"Poolhouse {before} -> {kit.version()}")
    for path in changes.written:
        print(f"  updated {path}")
    for path, difference in changes.edited.items():
        print(f"  kept {path}, which you edited. The new version differs:")
        print(difference.rstrip())
    print(since(before))
    return 0


def since(version: str) -> str:
    """Return the part of the changelog that is newer than a version."""
    changelog = (resources("poolhouse") / "CHANGELOG.md").read_text(encoding="utf-8")
    entries = re.split(r"^(?=## )", changelog, flags=re.MULTILINE)[1:]
    newer = []
    for entry in entries:
        if re.match(rf"## \[?v?{re.escape(version)}\b", entry):
            break
        newer.append(entry.rstrip())
    return "\n\n".join(newer) or "The changelog has nothing newer."


def _vendor(wheel: Path, vendor: Path) -> str:
    found = _WHEEL.fullmatch(wheel.name)
    if found is None or not wheel.is_file():
        raise ConfigError(f"{wheel}: name the wheel of poolhouse, such as dist/poolhouse-0.2.0-py3-none-any.whl")
    emulator = wheel.with_name(wheel.name.replace("poolhouse-", "poolhouse_pubsub-", 1))
    if not emulator.is_file():
        raise ConfigError(f"{emulator} must be beside it: the emulator is a distribution of its own")
    vendor.mkdir(exist_ok=True)
    new = {path.name: path.read_bytes() for path in (wheel, emulator)}
    for old in vendor.glob("poolhouse*.whl"):
        old.unlink()
    for name, data in new.items():
        (vendor / name).write_bytes(data)
    return found["version"]


def _from_index(version: str, kept: dict[Path, bytes]) -> str:
    if not re.fullmatch(r"\d+(\.\d+)*((a|b|rc)\d+)?", version):
        raise ConfigError(f"{version!r} is neither a version, such as 0.2.0, nor the path of a wheel")
    for path in kept:
        path.unlink()
    return version


if __name__ == "__main__":
    try:
        sys.exit(refresh(sys.argv[1]))
    except (PoolhouseError, OSError) as problem:
        sys.exit(f"The new version is installed, and the project's files are as they were: {problem}")
