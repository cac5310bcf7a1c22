"""The console over the real API over fakes, and a backend that a test makes up."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from poolhouse.local.backend import Endpoints, QueueScale, ServiceState, ServiceStatus, UpOptions, traces_dir
from poolhouse.local.console.app import create_app
from poolhouse.local.console.files.bucket import FileInfo, Folder, Opened
from poolhouse.local.console.stacks import LocalStack
from poolhouse.local.errors import NoStack
from poolhouse.pipeline.store import ObjectInfo
from poolhouse.testing.doubles import MemoryStore
from tests.kit.unit.commands.conftest import Served, served

__all__ = ["served"]

HOST = "127.0.0.1:8081"
#: What nobody listens at.
NOWHERE = "127.0.0.1:9"


@dataclass
class MadeUpBackend:
    """What it says is what the test wants."""

    where: Endpoints
    name: str = "made-up"
    clock_moves_all: bool = True
    services: tuple[ServiceStatus, ...] = (
        ServiceStatus(service="api", instance="api", state=ServiceState.READY, uptime_s=5),
    )
    scales: tuple[QueueScale, ...] = ()
    files: Mapping[str, Path] | None = field(default_factory=dict)
    #: What its log command prints, where it has no files.
    printed: str = ""

    def up(self, options: UpOptions, say: Callable[[str], None]) -> Endpoints:
        raise NotImplementedError

    def down(self, *, volumes: bool = False) -> bool:
        raise NotImplementedError

    def endpoints(self) -> Endpoints:
        return self.where

    def missing(self) -> str | None:
        return None

    def status(self) -> tuple[ServiceStatus, ...]:
        return self.services

    def scaling(self) -> tuple[QueueScale, ...]:
        return self.scales

    def log_files(self) -> Mapping[str, Path] | None:
        return self.files

    def log_command(self, service: str | None, *, follow: bool, lines: int) -> list[str] | None:
        return [sys.executable, "-c", f"print({self.printed!r})"]

    def restart(self, service: str, *, kill: bool = False) -> None:
        raise NotImplementedError

    def scale(self, service: str, instances: int) -> None:
        raise NotImplementedError


class StoreBucket:
    """The bucket of the API under test."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def folder(self, prefix: str, *, page_token: str | None) -> Folder:
        found = self._store.list(prefix, page_size=10_000).objects
        below = {info.name: info.name.removeprefix(prefix).partition("/") for info in found}
        return Folder(
            folders=tuple(sorted({f"{prefix}{first}/" for first, slash, _ in below.values() if slash})),
            files=tuple(_described(info) for info in found if not below[info.name][1]),
            next_page_token=None,
        )

    @contextmanager
    def open(self, name: str) -> Iterator[Opened]:
        data, info = self._store.get(name)
        yield Opened(
            info=_described(info), pieces=iter([data[start : start + 1000] for start in range(0, len(data), 1000)])
        )


def _described(info: ObjectInfo) -> FileInfo:
    return FileInfo(name=info.name, size_bytes=info.size_bytes, content_type=info.content_type)


@dataclass
class Shown:
    """The console, a browser without scripts, and what it shows."""

    served: Served
    backend: MadeUpBackend
    #: Where the stack leaves what its processes write.
    state_dir: Path
    client: TestClient = field(init=False)
    up: bool = True

    @property
    def traces_dir(self) -> Path:
        return traces_dir(self.state_dir, self.backend.name)

    def find(self) -> MadeUpBackend:
        if not self.up:
            raise NoStack
        return self.backend

    def page(self, path: str, *, status: int = 200) -> str:
        """A page as HTML."""
        answer = self.client.get(path)
        assert answer.status_code == status, answer.text
        return answer.text

    def text(self, path: str, *, status: int = 200) -> str:
        """A page as text, its tags left out."""
        return words(self.page(path, status=status))

    def post(self, path: str, *, status: int = 303, **form: str | list[str]) -> str:
        """Send a form as a page of the console does; where it leads, or the page that answers it."""
        answer = self.client.post(path, data=form, headers={"Origin": f"http://{HOST}"}, follow_redirects=False)
        assert answer.status_code == status, answer.text
        return str(answer.headers["location"]) if status == 303 else answer.text

    def break_api(self) -> None:
        self.backend.where = replace(self.backend.where, api_url=f"http://{NOWHERE}")


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


@pytest.fixture
def shown(served: Served, tmp_path: Path) -> Iterator[Shown]:
    where = Endpoints(
        api_url=served.api.url,
        pubsub_host=NOWHERE,
        storage_url=f"http://{NOWHERE}",
        project="unit-console",
        bucket="unit-console",
    )
    made = Shown(served, MadeUpBackend(where), tmp_path)
    made.client = TestClient(
        create_app(LocalStack(made.find, state_dir=tmp_path, open_bucket=lambda *_: StoreBucket(served.store))),
        base_url=f"http://{HOST}",
        raise_server_exceptions=False,
    )
    yield made
    made.client.close()
