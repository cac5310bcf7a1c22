"""Start a stack, change the number of its workers, stop it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

from poolhouse.commands.output import err, out, plain
from poolhouse.commands.stack.logs import LinePrinter, show_engine_logs
from poolhouse.local import backends, logs, state
from poolhouse.local.backend import Backend, Endpoints, UpOptions, default_state_dir
from poolhouse.local.errors import StackError
from poolhouse.pipeline import numbers
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.exit_codes import FAILED, OK


def up(
    *,
    backend: str | None = None,
    foreground: bool = False,
    options: UpOptions | None = None,
    state_dir: Path | None = None,
) -> int:
    """Start the stack; where one is up already, say so."""
    state_dir = state_dir or default_state_dir()
    options = options or UpOptions()
    if options.pubsub and backend not in {None, "compose"}:
        raise ConfigError(f"--pubsub is for the backend compose, not for {backend}")
    backend = backend or ("compose" if options.pubsub else None)
    running = state.read_live(state_dir) if backend == "embedded" else backends.look(state_dir)
    if running is not None:
        missing = _missing(running, backend=backend, state_dir=state_dir)
        had = running.details.get("pubsub")
        if options.pubsub and had and options.pubsub != had:
            raise ConfigError(f"a stack is up already, with the Pub/Sub emulator {had}: ./invoke down ends it")
        if missing is None:
            return _already(running, backend=backend, state_dir=state_dir, timeout_s=options.timeout_s)
        out.print(missing)
        backend = backend or running.backend
    if options.autoscale and options.workers != 1:
        raise ConfigError("--workers can't be combined with --autoscale; limits come from pipeline.toml")
    if options.scale_down_after_s is not None and not options.autoscale:
        raise ConfigError("--scale-down-after is for --autoscale")
    own = {
        "--keep": options.keep,
        "--reload": options.reload,
        "--autoscale": options.autoscale,
        "--gcs-limits": options.gcs_limits,
    }
    if any(own.values()):
        word = next(word for word, given in own.items() if given)
        if backend not in {None, "embedded"}:
            raise ConfigError(f"{word} is for the backend embedded, not for {backend}")
        backend = "embedded"
    choice = backends.choose(backend, state_dir=state_dir)
    out.print(f"starting the stack: {choice.backend.name} ({choice.reason})")
    started = time.monotonic()
    endpoints = choice.backend.up(options, out.print)
    took_s = time.monotonic() - started

    def announce() -> None:
        out.print(f"[green]ready[/] in {took_s:.1f} s")
        _print_endpoints(endpoints)

    if foreground:
        return _stay(choice.backend, state_dir, announce)
    announce()
    out.print("next: ./invoke e2e · ./invoke status · ./invoke logs --follow · ./invoke down")
    return OK


def down(*, volumes: bool = False, state_dir: Path | None = None) -> int:
    """Stop the stack; with `volumes`, delete what is kept for the next one, whether a stack is up or not."""
    state_dir = state_dir or default_state_dir()
    found = backends.every(state_dir) if volumes else (backends.last(state_dir),)
    stopped = [backend.name for backend in found if backend.down(volumes=volumes)]
    out.print("stopped" if stopped else "no stack was up")
    return OK


def scale(wanted: str, *, state_dir: Path | None = None) -> int:
    """Run another number of instances of a service.

    Args:
        wanted: SERVICE=NUMBER, such as `worker=3`.
    """
    service, _, number = wanted.partition("=")
    try:
        count = numbers.whole(number)
    except ValueError:
        count = -1
    if count < 0:
        raise ConfigError(f"write SERVICE=NUMBER, such as worker=3, not {wanted!r}")
    backends.current(state_dir or default_state_dir()).scale(service, count)
    out.print(f"{service} scaled to {count}")
    return OK


def _already(running: state.StackState, *, backend: str | None, state_dir: Path, timeout_s: float) -> int:
    if backend is not None and backend != running.backend:
        raise ConfigError(f"a stack is up already, with the backend {running.backend}: ./invoke down ends it")
    deadline = time.monotonic() + timeout_s
    while not running.ready:  # another `up` is at it
        time.sleep(0.1)
        again = state.read_live(state_dir)
        if again is None or time.monotonic() > deadline:
            err.print("[red]another ./invoke up was starting the stack, but it did not get ready[/]")
            return FAILED
        running = again
    out.print(f"the stack is up already ({running.backend})")
    _print_endpoints(running.endpoints)
    return OK


def _missing(running: state.StackState, *, backend: str | None, state_dir: Path) -> str | None:
    """What of the stack that was started does not run, as a line for people; None where all does."""
    if not running.ready:
        return None
    try:
        missing = backends.current(state_dir).missing()
    except StackError as error:
        if backend in {None, running.backend}:
            raise
        return f"the stack of the backend {running.backend} can't be reached, and is left as it is: {plain(error)}"
    return f"of the stack that is up, {missing}: bringing it back" if missing else None


def _stay(backend: Backend, state_dir: Path, announce: Callable[[], None]) -> int:
    printer = LinePrinter(raw=False)
    try:
        announce()
        out.print("Ctrl-C stops it")
        if backend.log_files() is None:
            show_engine_logs(backend, None, follow=True, lines=50, raw=False)
            out.print("the stack has ended")
            return OK
        for name, line in logs.follow(
            lambda: backend.log_files() or {}, alive=lambda: state.read_live(state_dir) is not None, from_start=True
        ):
            printer.print(name, line)
    except KeyboardInterrupt:
        out.print("\nstopping (tasks that run get their grace period; Ctrl-C again ends them now)")
        try:
            backend.down()
        except KeyboardInterrupt:
            found = state.read_live(state_dir)
            if found is not None and found.supervisor is not None:
                found.supervisor.signal(signal.SIGKILL)
                found.supervisor.wait(5)
            return FAILED
        out.print("stopped")
        return OK
    out.print("the stack has ended")
    return OK


def _print_endpoints(endpoints: Endpoints) -> None:
    out.print(f"  API      {endpoints.api_url}   (docs: {endpoints.api_url}/docs)")
    out.print(f"  Pub/Sub  {endpoints.pubsub_host}   project {endpoints.project}")
    out.print(f"  storage  {endpoints.storage_url}   bucket {endpoints.bucket}")
    out.print(f"  console  {endpoints.console_url or './invoke console'}")
