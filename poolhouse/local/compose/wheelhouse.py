"""The wheelhouse: the dependencies of the images as wheels, so that builds need no network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from poolhouse.local.errors import StackError
from poolhouse.project import ROOT

#: The dependencies of each image: of the pipeline, and of our Pub/Sub emulator.
LOCKS = (ROOT / "requirements.lock", ROOT / "requirements-pubsub.lock")
#: The Dockerfile mounts this folder.
WHEELHOUSE = ROOT / ".wheelhouse"
#: Wheels that a project carries itself, beside those of the package index.
_VENDOR = ROOT / "vendor"
#: Python of the image.
PYTHON_VERSION = "3.11"
#: The newest glibc that wheels may want: that of Debian bookworm.
_GLIBC_MINOR = 36
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
_TIMEOUT_S = 1800


def platforms(architecture: str) -> list[str]:
    """Wheel platforms that the image can run, as pip wants them. Raises `StackError` for an unknown processor.

    Args:
        architecture: as image manifests call it.
    """
    machine = _MACHINES.get(architecture)
    if machine is None:
        raise StackError(f"no wheels for the processor {architecture} (there are for: {', '.join(_MACHINES)})")
    tags = [f"manylinux_2_{minor}_{machine}" for minor in range(_GLIBC_MINOR, 4, -1)]
    return [*tags, f"manylinux2014_{machine}"]


def fill(*, architecture: str) -> int:
    """Download what the lock files name, unless it is there already; returns the number of wheels.

    Raises:
        StackError: pip could not download them, or there is no pip.
    """
    stamps = {lock: WHEELHOUSE / lock.name for lock in LOCKS}
    if not all(stamp.exists() and stamp.read_bytes() == lock.read_bytes() for lock, stamp in stamps.items()):
        # First of all: an interrupted download must not count as a whole one.
        for old in (*stamps.values(), *WHEELHOUSE.glob("*.whl")):
            old.unlink(missing_ok=True)
        for lock in LOCKS:
            _download(lock, architecture=architecture)
        for lock, stamp in stamps.items():
            stamp.write_bytes(lock.read_bytes())
    return len(list(WHEELHOUSE.glob("*.whl")))


def _download(lock: Path, *, architecture: str) -> None:
    command = [
        *(sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"),
        *("--require-hashes", "--no-deps", "--only-binary", ":all:", "--requirement", str(lock)),
        *(("--find-links", str(_VENDOR)) if _VENDOR.is_dir() else ()),
        *("--dest", str(WHEELHOUSE), "--implementation", "cp", "--python-version", PYTHON_VERSION),
        *(part for abi in ("cp311", "abi3", "none") for part in ("--abi", abi)),
        *(part for tag in platforms(architecture) for part in ("--platform", tag)),
    ]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT_S, check=False)
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()[-4:]
        raise StackError(f"pip could not download the dependencies of {lock.name}:\n  " + "\n  ".join(lines))
