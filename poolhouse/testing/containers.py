"""Testcontainers for the two servers: Google's Pub/Sub emulator and fake-gcs-server.

    with PubSubContainer() as pubsub, StorageContainer() as storage:
        os.environ.update(PUBSUB_EMULATOR_HOST=pubsub.host, STORAGE_EMULATOR_HOST=storage.url)

Images, users and the emulator's command are those of docker-compose.yml. Both listen on 127.0.0.1 alone (on every
address, where TESTCONTAINERS_HOST_OVERRIDE says that containers are reached by another host), write to memory alone,
and end in well under a second. `pytest --backend containers` runs our own tests on them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.waiting_utils import WaitStrategy, WaitStrategyTarget

from poolhouse.local import probe
from poolhouse.local.compose import build, emulator, engine, file
from poolhouse.local.errors import StackError
from poolhouse.local.processes import ports
from poolhouse.testing.servers import Servers

PUBSUB_PORT = 8085
STORAGE_PORT = 4443
#: Longest time to get ready, in seconds.
START_TIMEOUT_S = 60.0
#: All that the containers may write.
_WRITABLE = "/tmp"  # noqa: S108 - in the container
#: Names of this machine's own address.
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_POLL_S = 0.05
_LOG_BYTES = 2000


class Answers(WaitStrategy):  # type: ignore[misc]  # testcontainers is not typed throughout
    """Ready when a GET that the server's real work answers gets 200; at once an error where the container has ended."""

    def __init__(self, port: int, path: str, *, timeout_s: float = START_TIMEOUT_S) -> None:
        """Nothing happens until the container starts.

        Args:
            port: the published one.
            path: of a call that needs the service behind it, not the listener alone.
            timeout_s: longest time, in seconds.
        """
        super().__init__()
        self._port, self._path = port, path
        self._timeout_s = timeout_s

    def wait_until_ready(self, container: WaitStrategyTarget) -> None:
        """Wait. Raises `StackError` with the end of the container's log."""
        deadline_s = time.monotonic() + self._timeout_s
        url = f"http://{_host()}:{self._port}{self._path}"
        while not probe.answers(url):
            container.reload()
            if container.status in ("exited", "dead"):
                raise StackError(f"the container ended while it started:\n{_log(container)}")
            if time.monotonic() > deadline_s:
                raise StackError(f"{url} did not answer in {self._timeout_s:.0f} s:\n{_log(container)}")
            time.sleep(_POLL_S)


def _log(container: WaitStrategyTarget) -> str:
    output, errors = container.get_logs()
    return (output + errors).decode(errors="replace")[-_LOG_BYTES:].strip() or "(it wrote nothing)"


class PubSubContainer(DockerContainer):  # type: ignore[misc]  # as above
    """Google's Pub/Sub emulator. It keeps nothing, and every project exists."""

    def __init__(self, image: str | None = None) -> None:
        """Not started yet.

        Args:
            image: another one than docker-compose.yml's.
        """
        declared = _declared("pubsub")
        _disable_ryuk_if_unavailable()
        super().__init__(image or google_pubsub_image())
        self.with_command(declared["command"])
        self.with_kwargs(**_locked_down(declared))
        self.tmpfs[_WRITABLE] = "exec,mode=1777"  # Netty unpacks its native library there and maps it
        self.port = ports.choose()
        self.ports[PUBSUB_PORT] = _published(self.port)
        self.waiting_for(Answers(self.port, "/v1/projects/ready-or-not/topics"))

    @property
    def host(self) -> str:
        """For PUBSUB_EMULATOR_HOST."""
        return f"{_host()}:{self.port}"


class StorageContainer(DockerContainer):  # type: ignore[misc]  # as above
    """fake-gcs-server, its objects in memory."""

    def __init__(self, image: str | None = None) -> None:
        """Not started yet.

        Args:
            image: another one than docker-compose.yml's.
        """
        declared = _declared("gcs")
        _disable_ryuk_if_unavailable()
        super().__init__(image or declared["image"], entrypoint=declared["entrypoint"])
        # Known beforehand: the server puts its own address in links.
        self.port = ports.choose()
        own = {"-external-url": self.url, "-public-host": self.url.removeprefix("http://")}
        self.with_command([_with_own(argument, own) for argument in declared["command"]])
        self.with_kwargs(**_locked_down(declared))
        self.tmpfs[_WRITABLE] = "mode=1777"
        self.ports[STORAGE_PORT] = _published(self.port)
        self.waiting_for(Answers(self.port, "/storage/v1/b?project=ready-or-not"))

    @property
    def url(self) -> str:
        """For STORAGE_EMULATOR_HOST."""
        return f"http://{_host()}:{self.port}"


def google_pubsub_image() -> str:
    """The image of Google's emulator, or of its mirror that PUBSUB_IMAGE names."""
    return str(emulator.choose(emulator.GOOGLE, os.environ).image)


def _host() -> str:
    """Where published ports are reached: this machine, or the host that testcontainers is told."""
    return testcontainers_config.tc_host_override or ports.HOST


def _published(port: int) -> tuple[str, int] | int:
    """Where a port is published: what is reached by another host can't be on this machine's own address alone."""
    return (ports.HOST, port) if _host() in _LOOPBACK else port


def _with_own(argument: str, own: Mapping[str, str]) -> str:
    name = argument.partition("=")[0]
    return f"{name}={own[name]}" if name in own else argument


def _declared(service: str) -> dict[str, Any]:
    declared: dict[str, Any] = file.services(os.environ)[service]
    return declared


def _locked_down(declared: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "user": declared["user"],
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "pids_limit": declared["pids_limit"],
    }


def _disable_ryuk_if_unavailable() -> None:
    """Testcontainers' reaper is one more image: where it can't be had, containers end with their `with` block alone."""
    image = testcontainers_config.ryuk_image
    if not testcontainers_config.ryuk_disabled and not engine.has_image(image):
        testcontainers_config.ryuk_disabled = not engine.can_pull(image)


@contextmanager
def containers(say: Callable[[str], None] = lambda _: None) -> Iterator[Servers]:
    """Both servers in containers. Raises `StackError` where there is no engine, or an image can't be had."""
    engine.probe()
    build.pull([google_pubsub_image(), file.storage_image(os.environ)], say)
    with PubSubContainer() as pubsub, StorageContainer() as storage:
        yield Servers(pubsub_host=pubsub.host, storage_url=storage.url)
