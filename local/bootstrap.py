"""Makes `.venv` from `requirements-dev.lock`, with the standard library alone: called by `./invoke`, never imported.

uv does it in seconds: the one on the PATH, or the one that the lock names, fetched by pip. Where neither works, pip
does all of it in a minute or two. Every file is checked against the lock's hashes either way. Of two that run at once
the second waits, and finds the work done.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOCK = ROOT / "requirements-dev.lock"
STAMP = VENV / "poolhouse-stamp"
PYTHON = VENV / "bin" / "python"
#: Variables of another Python, and those that let pip or uv install something else, or elsewhere. The others say where
#: packages come from.
_FOREIGN = re.compile(
    r"PYTHON(?!DONTWRITEBYTECODE$).*"
    r"|PIP_(ABI|(BUILD_)?CONSTRAINT|DRY_RUN|EDITABLE|IMPLEMENTATION|NO_BINARY|PLATFORM|PREFIX|PYTHON|PYTHON_VERSION)"
    r"|PIP_(REQUIREMENT|REQUIRE_VIRTUALENV|ROOT|TARGET|USER)"
    r"|UV_((BUILD_)?CONSTRAINT|EXCLUDE_NEWER(_PACKAGE)?|NO_BINARY(_PACKAGE)?|OVERRIDE|PYTHON|PYTHON_PLATFORM)"
    r"|UV_(PYTHON_PREFERENCE|(NO_)?MANAGED_PYTHON|SYSTEM_PYTHON)"
)
#: A pip.conf may have the same: `user = true` is an error in every virtual environment.
_HERE = ("--no-user", "--target=")
_PIP = (
    *(str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"),
    *("--require-hashes", "--no-deps", *_HERE),
)
#: Wheels that a project carries itself, beside those of the package index.
_VENDOR = ("--find-links", "vendor") if (ROOT / "vendor").is_dir() else ()


def main(wanted: str) -> int:
    """Make the environment unless its stamp says `wanted`; returns the exit code."""
    for name in [*os.environ]:
        if _FOREIGN.fullmatch(name):
            del os.environ[name]
    try:
        return _make(wanted)
    except OSError as error:
        _say(f"can't make the environment in {ROOT}: {error.strerror}: {error.filename}. Another user's, or full?")
        return 1


def _make(wanted: str) -> int:
    state = ROOT / ".poolhouse"
    state.mkdir(exist_ok=True)
    with (state / "environment.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("another ./invoke is making the environment; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if PYTHON.exists() and STAMP.exists() and STAMP.read_text().strip() == wanted:
            return 0
        started = time.monotonic()
        STAMP.unlink(missing_ok=True)
        uv = _uv()
        if not (uv and _with_uv(uv)) and not (_make_venv() and (_with_own_uv() or _with_pip())):
            return 1
        STAMP.write_text(wanted + "\n")
        _say(f"environment ready in {time.monotonic() - started:.0f} s")
    return 0


def _uv() -> str | None:
    """A uv that runs: on the PATH, or in the environment that is to be brought up to date."""
    for candidate in (shutil.which("uv"), str(VENV / "bin" / "uv")):
        if candidate and Path(candidate).exists() and _quiet(candidate, "--version"):
            return candidate
    return None


def _with_uv(uv: str) -> bool:
    _say(f"making .venv from {LOCK.name} with uv")
    if not PYTHON.exists() and not _run(uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(VENV)):
        return False
    # As pip does: a company's proxy has a certificate that only the system's store knows. (Its name before uv 0.10.)
    for variable in ("UV_SYSTEM_CERTS", "UV_NATIVE_TLS"):
        os.environ.setdefault(variable, "true")
    # Where Python may not write bytecode, each start would compile the libraries anew, which is half of what it takes.
    # pip always writes it.
    compiled = ("--compile-bytecode",) if os.environ.get("PYTHONDONTWRITEBYTECODE") else ()
    if _run(uv, "pip", "sync", "--quiet", "--require-hashes", *_VENDOR, *compiled, "--python", str(PYTHON), str(LOCK)):
        return True
    _say("uv could not install it (it has its own settings for package indexes); trying pip")
    return False


def _make_venv() -> bool:
    if importlib.util.find_spec("ensurepip") is None:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        _say(
            f"this Python ({sys.executable}) can't make environments: its ensurepip module is missing. "
            f"On Debian and Ubuntu: apt-get install python{version}-venv. Or install uv: https://docs.astral.sh/uv/"
        )
        return False
    _say(f"making .venv from {LOCK.name}: this takes a minute, once")
    return _run(sys.executable, "-m", "venv", "--clear", str(VENV))


def _with_own_uv() -> bool:
    """Let pip fetch the lock's own uv, which installs the rest several times faster."""
    pinned = re.search(r"^uv==.*(?:\n    .*)+", LOCK.read_text(), re.MULTILINE)
    if pinned is None:
        return False
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as only_uv:
        only_uv.write(pinned[0] + "\n")
        only_uv.flush()
        if not _quiet(*_PIP, "-r", only_uv.name, timeout_s=300):
            return False
    uv = _uv()
    return uv is not None and _with_uv(uv)


def _with_pip() -> bool:
    _say("installing with pip")
    if _run(*_PIP, *_VENDOR, "-r", str(LOCK)):
        return True
    _say("pip could not install the packages of the lock file: see above. Nothing is left half-made: run it again")
    return False


def _run(*command: str) -> bool:
    return subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=False).returncode == 0


def _quiet(*command: str, timeout_s: float = 20) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=timeout_s).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _say(text: str) -> None:
    sys.stderr.write(f"invoke: {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
