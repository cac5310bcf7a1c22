"""The kit's own wheels: built from a checkout, or made again from what is installed."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import subprocess
import sys
import zipfile
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from poolhouse.pipeline import kit
from poolhouse.pipeline.errors import ConfigError

#: The distributions of the kit, and in a checkout the folder of each.
DISTRIBUTIONS = {"poolhouse": ".", "poolhouse-pubsub": "poolhouse_pubsub"}
#: Files of an installation that are not of the wheel (Recording installed projects; pip, uv).
_OF_THE_INSTALLER = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json"}
#: A fixed time, so that the same files make the same wheel (ZIP holds none before 1980).
_TIME = (2020, 1, 1, 0, 0, 0)


def put(folder: Path) -> list[Path]:
    """Put the wheel of each distribution into a folder; returns their paths.

    Raises:
        ConfigError: a build failed, or the kit is installed in a way that no wheel can be made from.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if kit.is_checkout():
        return [build(kit.CHECKOUT / source, folder, "--wheel") for source in DISTRIBUTIONS.values()]
    try:
        return [repack(distribution(name), folder) for name in DISTRIBUTIONS]
    except PackageNotFoundError as error:
        raise ConfigError(f"{error.name} is not installed: pip install 'poolhouse[local]'") from None


def build_all(folder: Path) -> int:
    """`invoke build`: both distributions, wheel and sdist, checked; returns the exit code."""
    for old in folder.glob("poolhouse*"):
        old.unlink()
    for source in DISTRIBUTIONS.values():
        build(kit.CHECKOUT / source, folder)
    made = sorted(folder.iterdir())
    checked = subprocess.run((sys.executable, "-m", "twine", "check", "--strict", *map(str, made)), check=False)
    for path in made:
        print(f"{path}  {path.stat().st_size / 1024:.0f} KiB")
    return checked.returncode


def build(source: Path, folder: Path, *what: str) -> Path:
    """Build a distribution with its own backend; returns the wheel's path.

    Args:
        source: the folder of its pyproject.toml.
        folder: where the files go.
        what: options of `python -m build`; none: sdist and wheel.

    Raises:
        ConfigError: the build failed; the text ends with the backend's last lines.
    """
    before = set(folder.glob("*.whl"))
    command = (sys.executable, "-m", "build", "--no-isolation", *what, "--outdir", str(folder), str(source))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()[-8:]
        raise ConfigError(f"{source} can't be built:\n  " + "\n  ".join(lines))
    made = sorted(set(folder.glob("*.whl")) - before) or sorted(folder.glob("*.whl"), key=lambda p: p.stat().st_mtime)
    return made[-1]


def repack(installed: Distribution, folder: Path) -> Path:
    """Make the wheel of an installed distribution again; returns its path.

    Raises:
        ConfigError: the installation is editable, or files of it are gone.
    """
    name, version = installed.metadata["Name"].replace("-", "_"), installed.version
    listed = [file for file in installed.files or () if ".." not in file.parts and "__pycache__" not in file.parts]
    kept = sorted(str(file) for file in listed if file.name not in _OF_THE_INSTALLER)
    if not any(file.startswith(f"{name}/") for file in kept):
        raise ConfigError(f"{name} is installed as an editable project: run ./invoke new-project in its checkout")
    target = folder / f"{name}-{version}-py3-none-any.whl"
    record, rows = f"{name}-{version}.dist-info/RECORD", io.StringIO()
    table = csv.writer(rows, lineterminator="\n")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as wheel:
        for file in kept:
            try:
                data = Path(str(installed.locate_file(file))).read_bytes()
            except OSError as error:
                raise ConfigError(f"{name} is not installed completely: {error}") from None
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            table.writerow((file, f"sha256={digest}", len(data)))
            wheel.writestr(zipfile.ZipInfo(file, _TIME), data, zipfile.ZIP_DEFLATED)
        table.writerow((record, "", ""))
        wheel.writestr(zipfile.ZipInfo(record, _TIME), rows.getvalue(), zipfile.ZIP_DEFLATED)
    return target
