"""`invoke lock`: the lock files, from pyproject.toml."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from poolhouse.commands.project import project_files, uv, wheels
from poolhouse.pipeline import kit, text_files
from poolhouse.pipeline.errors import ConfigError
from poolhouse.project import ROOT

#: Every version pinned with its hashes, for every platform, and no index address in them.
_OPTIONS = (
    *("--quiet", "--universal", "--generate-hashes", "--no-emit-index-url", "--no-emit-find-links"),
    *("--no-header", "--no-annotate", "--python-version", "3.11"),
)
_KIT = tuple(wheels.DISTRIBUTIONS)


def run(root: Path = ROOT) -> int:
    """Remake the lock files of a project; in the kit's repository also those that new projects begin with."""
    compile_all(root)
    if kit.is_checkout() and root == kit.CHECKOUT:
        # A project without dependencies of its own: what the kit needs, and not the kit, whose wheels it carries.
        with tempfile.TemporaryDirectory() as folder:
            text = project_files.render(name="project", version=kit.version())["pyproject.toml"]
            sources = "".join(
                f'{name} = {{ path = "{root / source}" }}\n' for name, source in wheels.DISTRIBUTIONS.items()
            )
            Path(folder, "pyproject.toml").write_text(f"{text}\n[tool.uv.sources]\n{sources}", encoding="utf-8")
            _compile_both(Path(folder), root / "poolhouse" / "templates", more=_not_emitted(_KIT))
    return 0


def compile_all(root: Path) -> None:
    """Resolve the dependencies of production, of development and of the emulator's image; write a lock file of each.

    Raises:
        ConfigError: uv found no versions that fit together, or could not ask the index; its own words are in it.
    """
    more = ("--find-links", "vendor") if (root / "vendor").is_dir() else ()
    own = (root / "poolhouse_pubsub" / "pyproject.toml").is_file()
    _compile_both(root, root, more=(*more, *(_not_emitted(_KIT) if own else ())))
    # The emulator's image has the versions that the embedded stack runs.
    options = (*_OPTIONS, "--constraint", "requirements-dev.lock", *more)
    if own:
        words = ("poolhouse_pubsub/pyproject.toml", "--all-extras", *options, *_not_emitted(_KIT))
    else:
        words = ("-", *options)
    _compile(root, root / "requirements-pubsub.lock", words, given="poolhouse-pubsub[all]\n")


def _compile_both(root: Path, to: Path, *, more: Sequence[str]) -> None:
    """Resolve the production dependencies and all; write both lock files.

    Args:
        root: the folder of pyproject.toml.
        to: the folder that the lock files go to; versions in them are kept where they can be.
        more: further options of uv.
    """
    project = text_files.read_toml(root / "pyproject.toml")
    groups = project.get("dependency-groups", {})
    production = [word for name in ("app",) if name in groups for word in ("--group", name)]
    everything = [word for name in groups for word in ("--group", name)]
    if project["project"].get("optional-dependencies"):
        everything.append("--all-extras")
    for file, options in (("requirements.lock", production), ("requirements-dev.lock", everything)):
        _compile(root, to / file, ("pyproject.toml", *_OPTIONS, *options, *more))


def _compile(root: Path, file: Path, arguments: Sequence[str], *, given: str = "") -> None:
    done = subprocess.run(
        uv.command("pip", "compile", *arguments, "-o", str(file)),
        cwd=root,
        env=uv.environment(),
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ConfigError(f"{file.name} can't be made:\n{done.stderr.strip()}")
    print(f"{file.name}: {file.read_text(encoding='utf-8').count('==')} packages")


def _not_emitted(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(word for name in names for word in ("--no-emit-package", name))
