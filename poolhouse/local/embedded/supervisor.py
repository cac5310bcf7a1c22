"""The process that an embedded stack lives in, started by `poolhouse.local.embedded.backend`.

What runs in it is in `poolhouse.local.embedded.stack`. Its parent reads its standard output: one JSON object a line,
`{"say": TEXT}`, and in the end `{"ready": true}` or `{"error": TEXT}`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from poolhouse.local import state
from poolhouse.local.backend import Endpoints, UpOptions
from poolhouse.local.embedded import control_socket, specs
from poolhouse.local.embedded.data_dir import Kept
from poolhouse.local.embedded.stack import EmbeddedStack
from poolhouse.local.processes import ports
from poolhouse.local.processes.identity import ProcessId
from poolhouse.local.processes.reaper import Reaper
from poolhouse.local.storage import fake_gcs
from poolhouse.pipeline.errors import PoolhouseError
from poolhouse.pipeline.message import format_time

#: The API's port, where it is free: an address worth remembering.
USUAL_API_PORT = 8080


@dataclass(frozen=True, kw_only=True)
class Config:
    """What the supervisor is started with: one JSON object on its command line."""

    state_dir: Path
    options: UpOptions

    @classmethod
    def read(cls, text: str) -> Config:
        """The inverse of `write`."""
        document = json.loads(text)
        return cls(state_dir=Path(document["state_dir"]), options=UpOptions(**document["options"]))

    def write(self) -> str:
        """As JSON."""
        return json.dumps({"state_dir": str(self.state_dir), "options": asdict(self.options)})


async def run(config: Config) -> int:
    """Be the supervisor of a stack until told to stop; returns the exit code."""
    with _only_one(config.state_dir) as alone:
        if not alone:
            _report(error="another stack is starting or stopping here")
            return 1
        _tidy_up_after(state.read(config.state_dir))
        reaper = Reaper()
        data = fake_gcs.temporary_root()
        reaper.folder(data)
        try:
            return await _live(config, data=data, reaper=reaper)
        finally:
            state.remove(config.state_dir)
            shutil.rmtree(data, ignore_errors=True)
            reaper.dismiss()


async def _live(config: Config, *, data: Path, reaper: Reaper) -> int:
    options = config.options
    try:
        kept = Kept.of(config.state_dir)
        console = ports.listen_near(
            options.console_port, preferred=specs.USUAL_CONSOLE_PORT, what="the console (--console-port)"
        )
        name = kept.name() if options.keep else data.name.removeprefix("poolhouse-")
        endpoints = _endpoints(options, name=name, console_port=console.getsockname()[1])
        stack = EmbeddedStack(
            options,
            state_dir=config.state_dir,
            endpoints=endpoints,
            console=console,
            data=data,
            reaper=reaper,
            say=_log,
        )
    except PoolhouseError as error:
        _report(error=str(error))
        return 1
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stack.stop_asked.set)
    if options.attached:
        loop.add_reader(0, stack.stop_asked.set)  # nothing is ever sent: readable means that it was closed
    control_path = data / "control"
    server = await control_socket.serve(control_path, stack.answer)

    def note(*, ready: bool) -> None:
        details = {"control": str(control_path), "data": str(data), "logs": str(config.state_dir / "logs")}
        me = ProcessId.of(os.getpid())
        state.write(
            config.state_dir,
            state.StackState(backend="embedded", endpoints=endpoints, ready=ready, supervisor=me, details=details),
        )

    note(ready=False)
    if options.api_port is None and not endpoints.api_url.endswith(f":{USUAL_API_PORT}"):
        _report(say=f"port {USUAL_API_PORT} is in use; the API takes another one")
    starting = asyncio.create_task(stack.start())
    stopping = asyncio.create_task(stack.stop_asked.wait())
    # From before the first start: what is saved while the code is read must not be missed.
    housekeeping = [asyncio.create_task(stack.follow_code()), asyncio.create_task(stack.cap_logs())]
    code = 0
    try:
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            note(ready=True)
            _log("ready")
            _report(ready=True)
            _detach()
            housekeeping.append(asyncio.create_task(stack.follow_backlog()))
            await stopping
        _log("stopping")
    except PoolhouseError as error:
        _log(f"could not start: {error}")
        _report(error=str(error))
        code = 1
    finally:
        for task in (starting, stopping, *housekeeping):
            task.cancel()
        await asyncio.gather(starting, stopping, *housekeeping, return_exceptions=True)
        await stack.stop()
        server.close()
        _log("stopped")
    return code


def _endpoints(options: UpOptions, *, name: str, console_port: int) -> Endpoints:
    api = ports.choose(wanted=options.api_port, preferred=USUAL_API_PORT, what="the API (--api-port)")
    pubsub = ports.choose(wanted=options.pubsub_port, what="Pub/Sub (--pubsub-port)")
    storage = ports.choose(wanted=options.storage_port, what="storage (--storage-port)")
    # Names of its own for each stack that keeps nothing: what a client of an earlier one still sends finds nothing.
    unique = "".join(character for character in name.lower() if character.isalnum())
    return Endpoints(
        api_url=f"http://{ports.HOST}:{api}",
        pubsub_host=f"{ports.HOST}:{pubsub}",
        storage_url=f"http://{ports.HOST}:{storage}",
        project=f"poolhouse-{unique}",
        bucket=f"poolhouse-local-{unique}",
        console_url=f"http://{ports.HOST}:{console_port}",
    )


@contextlib.contextmanager
def _only_one(state_dir: Path) -> Iterator[bool]:
    """Hold the state directory; False if another supervisor does. The system lets go of it however this one ends."""
    state_dir.mkdir(parents=True, exist_ok=True)
    with (state_dir / "supervisor.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _tidy_up_after(earlier: state.StackState | None) -> None:
    if earlier is not None and earlier.backend == "embedded":
        _report(say="the last stack here ended without a goodbye; tidied up after it")
        data = Path(str(earlier.details.get("data", "")))
        if data.name.startswith("poolhouse-"):
            shutil.rmtree(data, ignore_errors=True)


def _report(**message: Any) -> None:
    with contextlib.suppress(BrokenPipeError):  # who started this has lost interest; the log has it all
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


def _detach() -> None:
    """Let go of the starter's pipe: it waits for the end of what it reads."""
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())


def _log(text: str) -> None:
    sys.stderr.write(json.dumps({"time": _now(), "severity": "INFO", "message": text}) + "\n")
    sys.stderr.flush()


def _now() -> str:
    return format_time(datetime.now(UTC))


if __name__ == "__main__":
    sys.exit(asyncio.run(run(Config.read(sys.argv[1]))))
