"""Pub/Sub and storage alone, without API and workers: what integration tests stand on."""

from __future__ import annotations

import os
import pkgutil
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from poolhouse.local.errors import StackError
from poolhouse.local.processes import environment, identity, parent_death, ports
from poolhouse.local.processes.reaper import Reaper
from poolhouse.local.storage import fake_gcs
from poolhouse.local.storage.fake_gcs import FakeGcs
from poolhouse.pipeline.errors import ConfigError
from poolhouse.project import ROOT

if TYPE_CHECKING:
    from poolhouse_pubsub.server import EmulatorServer

_START_TIMEOUT_S = 20.0
#: By their word for pytest's `--backend`, as `module:function`; the function takes nothing and returns a context
#: manager that gives `Servers`.
PROVIDERS = {
    "inline": "poolhouse.testing.servers:embedded",
    "in-process": "poolhouse.testing.servers:embedded",
    "embedded": "poolhouse.testing.servers:embedded",
    "containers": "poolhouse.testing.containers:containers",
}


@dataclass(frozen=True, kw_only=True)
class Servers:
    """Servers that run, and where."""

    #: HOST:PORT, for PUBSUB_EMULATOR_HOST.
    pubsub_host: str
    #: URL, for STORAGE_EMULATOR_HOST.
    storage_url: str
    #: The emulator, where it is ours and runs in this process: its clock and faults can be commanded.
    emulator: EmulatorServer | None = None


def provider(name: str) -> Callable[[], AbstractContextManager[Servers]]:
    """The function that starts servers. Raises `ConfigError` for a word that stands for none."""
    if name not in PROVIDERS:
        raise ConfigError(f"there are no servers {name!r} (there are: {', '.join(PROVIDERS)})")
    start: Callable[[], AbstractContextManager[Servers]] = pkgutil.resolve_name(PROVIDERS[name])
    return start


@contextmanager
def embedded() -> Iterator[Servers]:
    """Our emulator in this process, and fake-gcs-server as its child."""
    from poolhouse_pubsub.server import EmulatorServer  # noqa: PLC0415 - heavy: Google's client library

    with EmulatorServer() as emulator, storage_server() as storage_url:
        yield Servers(pubsub_host=emulator.address, storage_url=storage_url, emulator=emulator)


@contextmanager
def storage_server() -> Iterator[str]:
    """A fake-gcs-server whose objects are gone at the end; gives its URL. It ends with this process, however that ends.

    Raises:
        StackError: it does not start.
    """
    root = fake_gcs.temporary_root()
    reaper = Reaper()
    reaper.folder(root)
    port = ports.hold_near(0, preferred=(), what="storage")
    log = root / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            (
                *(sys.executable, "-I", "-S", str(Path(parent_death.__file__)), str(os.getpid())),
                *fake_gcs.command(port=port.number, root=root / "objects"),
            ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment.child(),
            process_group=0,
            cwd=ROOT,
        )
    reaper.group(process.pid, True)
    client = FakeGcs(f"http://{ports.HOST}:{port.number}")
    try:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not (client.healthy() and ports.listens(process.pid, port.number)):
            if process.poll() is not None or time.monotonic() > deadline:
                raise StackError(f"fake-gcs-server did not start: {log.read_text(errors='replace')[-1000:]}")
            time.sleep(0.02)
        yield client.url
    finally:
        client.close()
        port.release()
        identity.end_group(process.pid, signal.SIGKILL)  # the front, and the server behind it
        process.wait()
        shutil.rmtree(root, ignore_errors=True)
        reaper.dismiss()
