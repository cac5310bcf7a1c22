"""The programs under `clients/`: how each is built, into a cache outside the repository, and run."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "clients"
#: Longest build (all of a client's dependencies come from the registry) and longest run, in seconds.
BUILD_TIMEOUT_S = 1_200.0
RUN_TIMEOUT_S = 90.0


class ClientError(Exception):
    """A program that can't be built, or that failed; the text has the end of what it wrote."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """One client's program."""

    #: Name of its folder.
    language: str
    #: Executables that it needs.
    tools: tuple[str, ...]
    #: What runs it, in the folder where it was built.
    command: tuple[str, ...]
    #: What builds it there; empty for nothing to build.
    build: tuple[str, ...] = ()
    #: Whether CI must have its tools.
    always_in_ci: bool = True

    @property
    def missing(self) -> list[str]:
        """The tools that are not installed."""
        return [tool for tool in self.tools if shutil.which(tool) is None]

    def built(self) -> Path:
        """The folder of the built program; a build of the same sources is used again.

        Raises:
            ClientError: The build failed.
        """
        sources = FOLDER / self.language
        if not self.build:
            return sources
        target = _cache() / f"{self.language}-{_digest(sources)}"
        if target.exists():
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        # Built beside its place and moved there whole: a build that is cut off, or a second one at the same time,
        # leaves no half of one.
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f"{self.language}-", suffix=".part") as building:
            folder = Path(building) / "build"
            shutil.copytree(sources, folder)
            _run(self.build, folder=folder, timeout_s=BUILD_TIMEOUT_S)
            try:
                folder.rename(target)
            except OSError:
                if not target.exists():
                    raise
        return target

    def run(self, suffix: str, *, address: str, project: str) -> str:
        """Runs the program against an emulator, and returns what it printed.

        Args:
            suffix: Of the names of what it makes.
            address: HOST:PORT of the emulator.
            project: Project id.

        Raises:
            ClientError: It can't be built, failed or took too long.
        """
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", ""),
            "PUBSUB_EMULATOR_HOST": address,
            "GOOGLE_CLOUD_PROJECT": project,
        }
        return _run((*self.command, suffix), folder=self.built(), timeout_s=RUN_TIMEOUT_S, environment=environment)


PROGRAMS = {
    program.language: program
    for program in (
        Program(language="python", tools=(), command=(sys.executable, "client.py")),
        Program(
            language="go",
            tools=("go",),
            build=("go", "build", "-buildvcs=false", "-o", "client", "."),
            command=("./client",),
        ),
        Program(
            language="node",
            tools=("node", "npm"),
            build=("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"),
            command=("node", "client.js"),
        ),
        Program(
            language="java",
            tools=("java", "mvn"),
            build=("mvn", "--batch-mode", "--quiet", "package"),
            command=("java", "-cp", os.pathsep.join(("target/classes", "target/lib/*")), "Client"),
            always_in_ci=False,
        ),
        Program(
            language="rust",
            tools=("cargo",),
            # What cargo leaves beside the program takes 600 MB.
            build=("sh", "-c", "cargo build --locked --quiet && mv target/debug/client . && rm -r target"),
            command=("./client",),
            always_in_ci=False,
        ),
    )
}

#: In an environment of their own: they pin other versions of what we use.
TASK_SYSTEMS = {
    name: Program(
        language=name,
        tools=("sh",),
        build=(
            "sh",
            "-c",
            f"{sys.executable} -m venv venv && venv/bin/python -m pip install --quiet -r requirements.txt",
        ),
        command=("venv/bin/python", "app.py"),
    )
    for name in ("celery", "dramatiq")
}


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "poolhouse" / "conformance"


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _run(command: tuple[str, ...], *, folder: Path, timeout_s: float, environment: dict[str, str] | None = None) -> str:
    what = " ".join(command)
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        raise ClientError(f"`{what}` took more than {timeout_s:.0f} s") from None
    if done.returncode != 0:
        raise ClientError(f"`{what}` ended with {done.returncode}:\n{(done.stdout + done.stderr)[-2_000:]}")
    return done.stdout
