"""Pulls and builds the images of the Compose stack."""

from __future__ import annotations

import configparser
import contextlib
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from poolhouse.local.compose import engine, project
from poolhouse.local.compose.advice import build_failure
from poolhouse.local.compose.engine import BUILD_TIMEOUT_S, docker
from poolhouse.project import ROOT

#: Build stages of the Dockerfile that every stack runs; its emulator may be another stage, or another's image.
PIPELINE = ("production", "local")
#: The Dockerfile's label of the images that are built from it.
_LABEL = "dev.poolhouse.image"
_CA_VARIABLES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
_PIP_FILES = (
    *("~/Library/Application Support/pip/pip.conf", "~/.config/pip/pip.conf", "~/.pip/pip.conf"),
    *("/Library/Application Support/pip/pip.conf", "/etc/pip.conf"),
)
#: Settings of pip that say where packages come from: each may be a variable instead, which comes before any file.
_INDEX_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "proxy")


def secrets(environment: Mapping[str, str], *, folder: Path) -> dict[str, Path]:
    """What this machine's pip needs to reach its index, as build secrets: they leave no trace in the image.

    Args:
        environment: variables of this machine.
        folder: a private one, for settings that are variables.
    """
    bundles = (environment.get(name) for name in _CA_VARIABLES)
    pip_conf = _first((environment.get("PIP_CONFIG_FILE"), *_PIP_FILES))
    found = {
        "ca": _first((*bundles, _certificates(pip_conf) if pip_conf else None)),
        "pip_conf": _with_variables(pip_conf, environment, folder),
    }
    return {name: path for name, path in found.items() if path is not None}


def _with_variables(pip_conf: Path | None, environment: Mapping[str, str], folder: Path) -> Path | None:
    """Pip's settings as a file: where variables say more than the file, a copy that has them too."""
    named = {name: environment.get(f"PIP_{name.upper().replace('-', '_')}") for name in _INDEX_SETTINGS}
    given = {name: value for name, value in named.items() if value}
    if not given:
        return pip_conf
    parser = configparser.RawConfigParser()
    if pip_conf is not None:
        with contextlib.suppress(configparser.Error, OSError):  # pip itself will say it better
            parser.read(pip_conf, encoding="utf-8")
    # The section of a command comes before the common one.
    for section in ("global", "install"):
        if not parser.has_section(section):
            parser.add_section(section)
        for name, value in given.items():
            parser.set(section, name, value)
    copy = folder / "pip.conf"
    with copy.open("w", encoding="utf-8") as file:
        parser.write(file)
    return copy


def _certificates(pip_conf: Path) -> str | None:
    """The CA bundle that pip's settings name: a path of this machine, which means nothing in a container."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(pip_conf, encoding="utf-8")
    except (configparser.Error, OSError):  # pip itself will say it better
        return None
    return parser.get("global", "cert", fallback=None)


def _first(candidates: Iterable[str | None]) -> Path | None:
    for candidate in candidates:
        if candidate and Path(candidate).expanduser().is_file():
            return Path(candidate).expanduser()
    return None


def build(targets: Sequence[str], environment: Mapping[str, str] = os.environ) -> None:
    """Build stages of the Dockerfile; in a second where nothing changed.

    Raises:
        EngineError: a build failed; the text has the last lines of the step that did.
    """
    shared = [f"--build-arg=PYTHON_IMAGE={environment['PYTHON_IMAGE']}"] if environment.get("PYTHON_IMAGE") else []
    tags = project.images(environment)

    def make(target: str) -> None:
        arguments = ("--progress=plain", "--target", target, "--tag", tags[target], *shared, str(ROOT))
        docker("build", *arguments, timeout_s=BUILD_TIMEOUT_S, explain=build_failure)

    # At once: BuildKit makes what they share one time.
    with tempfile.TemporaryDirectory(prefix="poolhouse-") as folder, ThreadPoolExecutor(len(targets)) as pool:
        found = secrets(environment, folder=Path(folder))
        shared += [f"--secret=id={name},src={path}" for name, path in found.items()]
        for _ in pool.map(make, targets):
            pass
    # What the tags pointed to before would stay for ever; those in use stay.
    docker("image", "prune", "--force", "--filter", f"label={_LABEL}")


def pull(names: Sequence[str], say: Callable[[str], None]) -> None:
    """Pull the images that are not here yet. Raises `EngineError`."""
    missing = [name for name in names if not engine.has_image(name)]
    if not missing:
        return
    say(f"pulling {', '.join(missing)}")
    with ThreadPoolExecutor(len(missing)) as pool:
        for result in [pool.submit(engine.pull, name) for name in missing]:
            result.result()
