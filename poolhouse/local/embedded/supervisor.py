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
import resource
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, NoReturn

from poolhouse.local import state
from poolhouse.local.backend import UpOptions
from poolhouse.local.embedded import control_socket, specs
from poolhouse.local.embedded.data_dir import Kept
from poolhouse.local.embedded.stack import EmbeddedStack
from poolhouse.local.processes import addresses
from poolhouse.local.processes.identity import ProcessId
from poolhouse.local.processes.reaper import Reaper
from poolhouse.local.storage import fake_gcs
from poolhouse.pipeline.errors import PoolhouseError
from poolhouse.pipeline.messaging.message import format_time

#: Open files that a stack may have, where the system lets it: each connection is one.
OPEN_FILES = 4096
#: How often it is looked whether the state is still there, in seconds.
_STATE_CHECK_S = 1.0


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
    """Be the supervisor of a stack until stopped; return the exit code."""
    with _only_one(config.state_dir) as lock:
        if lock is None:
            _report(error="another stack is starting or stopping here")
            return 1
        try:
            _tidy_up_after(state.read(config.state_dir))
            data = fake_gcs.temporary_root()
        except PoolhouseError as error:
            _report(error=str(error))
            return 1
        reaper = Reaper()
        reaper.folder(data)
        try:
            return await _live(config, data=data, reaper=reaper, lock=lock)
        finally:
            if not _deleted(lock):  # else what is there is another stack's
                state.remove(config.state_dir)
            shutil.rmtree(data, ignore_errors=True)
            reaper.dismiss()


async def _live(config: Config, *, data: Path, reaper: Reaper, lock: IO[str]) -> int:
    options = config.options
    try:
        name = Kept.of(config.state_dir).name() if options.keep else addresses.name_of(config.state_dir)
        taken = addresses.take(options, name=name)
        endpoints = taken.endpoints
        stack = EmbeddedStack(options, state_dir=config.state_dir, addresses=taken, data=data, reaper=reaper, say=_log)
        grace_s = specs.grace_s({**os.environ, **options.environment})
    except (PoolhouseError, OSError) as error:
        _report(error=str(error))
        return 1
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stack.stop_asked.set)
    if options.attached:
        loop.add_reader(0, stack.stop_asked.set)  # nothing is ever sent: readable means that it was closed
    control_path = control_socket.path(data)
    reaper.folder(control_path.parent)
    server = await control_socket.serve(control_path, stack.answer)

    def note(*, ready: bool) -> None:
        details = {
            "control": str(control_path),
            "data": str(data),
            "logs": str(config.state_dir / "logs"),
            "grace_s": grace_s,
            "reload": options.reload,
        }
        me = ProcessId.of(os.getpid())
        state.write(
            config.state_dir,
            state.StackState(backend="embedded", endpoints=endpoints, ready=ready, supervisor=me, details=details),
        )

    note(ready=False)
    for line in stack.notes:
        _report(say=line)
    if options.api_port is None and not endpoints.api_url.endswith(f":{addresses.USUAL_API_PORT}"):
        _report(say=f"port {addresses.USUAL_API_PORT} is in use; the API takes another one")
    starting = asyncio.create_task(stack.start())
    stopping = asyncio.create_task(stack.stop_asked.wait())
    # From before the first start: what is saved while the code is read must not be missed.
    housekeeping = [
        asyncio.create_task(stack.follow_code()),
        asyncio.create_task(stack.cap_logs()),
        asyncio.create_task(_end_with(lock, stack.stop_asked)),
    ]
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
    except (PoolhouseError, OSError) as error:
        _log(f"could not start: {error}")
        _report(error=str(error))
        code = 1
    finally:
        for task in (starting, stopping, *housekeeping):
            task.cancel()
        await asyncio.gather(starting, stopping, *housekeeping, return_exceptions=True)
        await stack.stop()
        server.close()
        if control_path.parent != data:
            shutil.rmtree(control_path.parent, ignore_errors=True)
        _log("stopped")
    return code


@contextlib.contextmanager
def _only_one(state_dir: Path) -> Iterator[IO[str] | None]:
    """Hold the state directory; None if another supervisor does. The system lets go of it however this one ends."""
    with (state_dir / "supervisor.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        yield lock


async def _end_with(lock: IO[str], stop: asyncio.Event) -> None:
    """Ask for the end of the stack once its state was deleted, with the checkout or by `git clean`; runs until then.

    No command finds such a stack any more.
    """
    while True:
        await asyncio.sleep(_STATE_CHECK_S)
        if _deleted(lock):
            _log("the folder of the state was deleted")
            stop.set()
            return


def _deleted(lock: IO[str]) -> bool:
    """Whether the file was deleted: one that was moved still has a name."""
    held = os.fstat(lock.fileno())
    if held.st_nlink:
        return False
    try:
        return not os.path.samestat(held, os.stat(lock.name))  # some file systems count no names
    except OSError:
        return True


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
    with contextlib.suppress(OSError):  # the disk is full: the stack goes on without a log
        sys.stderr.write(json.dumps({"time": _now(), "severity": "INFO", "message": text}) + "\n")
        sys.stderr.flush()


def _now() -> str:
    return format_time(datetime.now(UTC))


def main() -> NoReturn:
    """Be a supervisor; the process ends with its exit code."""
    _allow_open_files()
    code = asyncio.run(run(Config.read(sys.argv[1])))
    sys.stdout.flush()
    # A client library's thread that waits for an answer must not keep the process.
    os._exit(code)


def _allow_open_files() -> None:
    """Raise the limit of open files, for the children too, as far as the system lets it: macOS begins at 256."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    main()
