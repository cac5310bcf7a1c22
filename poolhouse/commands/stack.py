"""What the commands of tasks.py do: bring a stack up, look at it, end it. Each returns its exit code.

0: done. 1: failed. 2: wrong use or settings. 130, 143: broken off, by Ctrl-C or by SIGTERM (as CI does it).
"""

from __future__ import annotations

import ast
import contextlib
import errno
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import requests
from rich.markup import escape
from rich.table import Table

from poolhouse.client import loopback, units
from poolhouse.local import backends, logs, state
from poolhouse.local.backend import SERVICES, Backend, Endpoints, QueueScale, ServiceState, UpOptions, default_state_dir
from poolhouse.local.errors import NoStack, StackError
from poolhouse.local.processes import environment
from poolhouse.local.safe_console import SafeConsole
from poolhouse.pipeline.errors import ConfigError, PoolhouseError
from poolhouse.pipeline.exit_codes import FAILED, OK, USAGE
from poolhouse.pipeline.visible import visible
from poolhouse.project import ROOT

#: Errors of the system, not of the code: a full disk, a folder of another user, too many open files, a path through a
#: file. A missing file is none: the code that expects it says what to do about it.
_REFUSALS = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE),
    *(errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP),
}
_COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "bright_red", "bright_cyan", "bright_magenta")
_out = SafeConsole(highlight=False, soft_wrap=True)
_err = SafeConsole(stderr=True, highlight=False, soft_wrap=True)


def exit_code(command: Callable[..., int], *arguments: Any, **options: Any) -> int:
    """Run a command; an error that is Poolhouse's own becomes one message and the exit code."""
    try:
        with _sigterm_as_ctrl_c():
            return command(*arguments, **options)
    except ConfigError as error:
        _err.print(f"[red]{_plain(error)}[/]")
        return USAGE
    except PoolhouseError as error:
        _err.print(f"[red]{_plain(error)}[/]")
        return FAILED
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        about = f": {error.filename}" if error.filename else ""
        _err.print(f"[red]{_plain(error.strerror)}{_plain(about)}[/]")
        return FAILED
    except KeyboardInterrupt as interrupt:
        return 128 + (interrupt.args[0] if interrupt.args else signal.SIGINT)  # as shells have it


@contextlib.contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """SIGTERM breaks a command off in order, as Ctrl-C does."""

    def interrupt(number: int, _: object) -> None:
        raise KeyboardInterrupt(number)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


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
        _out.print(missing)
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
    _out.print(f"starting the stack: {choice.backend.name} ({choice.reason})")
    started = time.monotonic()
    endpoints = choice.backend.up(options, _out.print)
    took_s = time.monotonic() - started

    def announce() -> None:
        _out.print(f"[green]ready[/] in {took_s:.1f} s")
        _print_endpoints(endpoints)

    if foreground:
        return _stay(choice.backend, state_dir, announce)
    announce()
    _out.print("next: ./invoke e2e · ./invoke status · ./invoke logs --follow · ./invoke down")
    return OK


def down(*, volumes: bool = False, state_dir: Path | None = None) -> int:
    """Stop the stack; with `volumes`, delete what is kept for the next one, whether a stack is up or not."""
    state_dir = state_dir or default_state_dir()
    found = backends.every(state_dir) if volumes else (backends.last(state_dir),)
    stopped = [backend.name for backend in found if backend.down(volumes=volumes)]
    _out.print("stopped" if stopped else "no stack was up")
    return OK


def scale(wanted: str, *, state_dir: Path | None = None) -> int:
    """Run another number of instances of a service.

    Args:
        wanted: SERVICE=NUMBER, such as `worker=3`.
    """
    service, _, number = wanted.partition("=")
    if not number.isdecimal():
        raise ConfigError(f"write SERVICE=NUMBER, such as worker=3, not {wanted!r}")
    backends.current(state_dir or default_state_dir()).scale(service, int(number))
    _out.print(f"{service} scaled to {int(number)}")
    return OK


def status(*, as_json: bool = False, state_dir: Path | None = None) -> int:
    """Show services and queues, as tables or as one JSON object; 1 where not all is ready."""
    state_dir = state_dir or default_state_dir()
    backend = backends.current(state_dir)
    endpoints = backend.endpoints()
    entries = backend.status()
    # The console is no part of what must be ready.
    all_ready = all(entry.state is ServiceState.READY for entry in entries if entry.service in SERVICES)
    code = OK if all_ready else FAILED
    if as_json:
        found = {
            "backend": backend.name,
            **asdict(endpoints),
            "services": [asdict(entry) for entry in entries],
            "queues": _queues(endpoints),
            "scaling": [asdict(entry) for entry in backend.scaling()],
        }
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return code
    table = Table("service", "state", "pid", "address", "up", "restarts", "last exit", box=None, header_style="bold")
    for entry in entries:
        ready = entry.state is ServiceState.READY
        table.add_row(
            entry.instance,
            f"[{'green' if ready else 'red'}]{entry.state}[/]",
            str(entry.pid or ""),
            entry.address or "",
            "" if entry.uptime_s is None else units.span(entry.uptime_s),
            str(entry.restarts or ""),
            entry.last_exit or "",
        )
    console = endpoints.console_url or "./invoke console"
    _out.print(f"backend {backend.name}, project {endpoints.project}, bucket {endpoints.bucket}, console {console}")
    _out.print(table)
    for entry in entries:
        if entry.note:
            _out.print(f"[red]{entry.instance}: {_plain(entry.note)}[/]")
    _print_queues(endpoints)
    _print_scaling(backend.scaling())
    return code


def show_logs(
    service: str | None = None,
    *,
    follow: bool = False,
    lines: int = 50,
    raw: bool = False,
    state_dir: Path | None = None,
) -> int:
    """Show the logs of one service, or of all; of the last stack where none is up."""
    state_dir = state_dir or default_state_dir()
    backend = backends.last(state_dir)
    files = backend.log_files()
    if files is None:
        return _show_engine_logs(backend, service, follow=follow, lines=lines, raw=raw)
    if not files:
        raise NoStack
    if not logs.chosen(files, service):
        raise ConfigError(f"there is no log of {service!r} (there are: {', '.join(files)})")
    printer = _Printer(raw=raw)
    for name, line in logs.last(logs.chosen(files, service), lines):
        printer.print(name, line)
    if follow:
        for name, line in logs.follow(
            lambda: logs.chosen(backend.log_files() or {}, service),
            alive=lambda: state.read_live(state_dir) is not None,
        ):
            printer.print(name, line)
    return OK


def bench(name: str, arguments: str) -> int:
    """Run a measurement of the folders named bench below tests/, or list them where none is named."""
    found = {path.stem: path for path in sorted((ROOT / "tests").glob("**/bench/[!_]*.py"))}
    if not name:
        for stem, path in found.items():
            _out.print(f"  {stem:<16} {_plain(_first_line(path))}")
        return OK
    if name not in found:
        raise ConfigError(f"there is no measurement {name!r} (there are: {', '.join(found)})")
    module = ".".join(found[name].relative_to(ROOT).with_suffix("").parts)
    return _python(module, *shlex.split(arguments))


def _first_line(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]


def _already(running: state.StackState, *, backend: str | None, state_dir: Path, timeout_s: float) -> int:
    if backend is not None and backend != running.backend:
        raise ConfigError(f"a stack is up already, with the backend {running.backend}: ./invoke down ends it")
    deadline = time.monotonic() + timeout_s
    while not running.ready:  # another `up` is at it
        time.sleep(0.1)
        again = state.read_live(state_dir)
        if again is None or time.monotonic() > deadline:
            _err.print("[red]another ./invoke up was starting the stack, but it did not get ready[/]")
            return FAILED
        running = again
    _out.print(f"the stack is up already ({running.backend})")
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
        return f"the stack of the backend {running.backend} can't be reached, and is left as it is: {_plain(error)}"
    return f"of the stack that is up, {missing}: bringing it back" if missing else None


def _show_engine_logs(backend: Backend, service: str | None, *, follow: bool, lines: int, raw: bool) -> int:
    """The logs that the container engine keeps, as those of processes are shown."""
    command = backend.log_command(service, follow=follow, lines=lines)
    if command is None:
        return FAILED
    printer = _Printer(raw=raw)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace") as process:
        assert process.stdout is not None
        try:
            found = logs.of_containers(process.stdout, service)
            for name, line in found if follow else logs.by_time(found):
                printer.print(name, line)
        except BaseException:
            process.kill()
            raise
    return process.returncode


def _stay(backend: Backend, state_dir: Path, announce: Callable[[], None]) -> int:
    printer = _Printer(raw=False)
    try:
        announce()
        _out.print("Ctrl-C stops it")
        if backend.log_files() is None:
            _show_engine_logs(backend, None, follow=True, lines=50, raw=False)
            _out.print("the stack has ended")
            return OK
        for name, line in logs.follow(
            lambda: backend.log_files() or {}, alive=lambda: state.read_live(state_dir) is not None, from_start=True
        ):
            printer.print(name, line)
    except KeyboardInterrupt:
        _out.print("\nstopping (tasks that run get their grace period; Ctrl-C again ends them now)")
        try:
            backend.down()
        except KeyboardInterrupt:
            found = state.read_live(state_dir)
            if found is not None and found.supervisor is not None:
                found.supervisor.signal(signal.SIGKILL)
                found.supervisor.wait(5)
            return FAILED
        _out.print("stopped")
        return OK
    _out.print("the stack has ended")
    return OK


def _print_endpoints(endpoints: Endpoints) -> None:
    _out.print(f"  API      {endpoints.api_url}   (docs: {endpoints.api_url}/docs)")
    _out.print(f"  Pub/Sub  {endpoints.pubsub_host}   project {endpoints.project}")
    _out.print(f"  storage  {endpoints.storage_url}   bucket {endpoints.bucket}")
    _out.print(f"  console  {endpoints.console_url or './invoke console'}")


def _queues(endpoints: Endpoints) -> list[dict[str, Any]] | None:
    """The queues as the API reports them; None, and a line about it, where it does not."""
    try:
        with loopback.session() as session:
            answer = session.get(f"{endpoints.api_url}/queues", timeout=5)
        answer.raise_for_status()
        queues: list[dict[str, Any]] = answer.json()["queues"]
    except (requests.RequestException, ValueError, KeyError) as error:
        _err.print(f"[red]the API returned no queues: {_plain(error)}[/]")
        return None
    return queues


def _print_queues(endpoints: Endpoints) -> None:
    queues = _queues(endpoints)
    if queues is None:
        return
    table = Table("queue", "state", "waiting", "in flight", "oldest", "dead letters", box=None, header_style="bold")
    for queue in queues:
        age = queue["oldest_age_s"]
        figures = ["?" if queue[key] is None else str(queue[key]) for key in ("backlog", "in_flight")]
        state = "[yellow]paused[/]" if queue["paused_at"] else "runs"
        table.add_row(queue["name"], state, *figures, "" if not age else units.span(age), str(queue["dead_letters"]))
    _out.print()
    _out.print(table)


def _print_scaling(scaling: tuple[QueueScale, ...]) -> None:
    """The workers of each queue; nothing where they do not follow the backlog."""
    if not scaling:
        return
    table = Table("queue", "unfinished", "workers", "wanted", "least-most", box=None, header_style="bold")
    for entry in scaling:
        backlog = "?" if entry.backlog is None else str(entry.backlog)
        table.add_row(entry.queue, backlog, str(entry.running), str(entry.wanted), f"{entry.least}-{entry.most}")
    _out.print()
    _out.print(table)


class _Printer:
    """Prints lines with their instance in front, each instance in a colour of its own."""

    def __init__(self, *, raw: bool) -> None:
        self._raw = raw
        self._colours: dict[str, str] = {}

    def print(self, name: str, line: str) -> None:
        if self._raw:
            # A program gets the line as it was written; a terminal is not to be commanded by it.
            sys.stdout.write((visible(line) if sys.stdout.isatty() else line) + "\n")
            sys.stdout.flush()
            return
        colour = self._colours.setdefault(name, _COLOURS[len(self._colours) % len(_COLOURS)])
        for part in logs.render(line).split("\n"):
            _out.print(f"[{colour}]{name:<10}│[/] {_plain(part)}")


def _plain(text: object) -> str:
    return escape(str(text))


def show_environment(form: str = "shell", *, state_dir: Path | None = None) -> int:
    """Print the variables under which other programs use the stack that is up.

    Args:
        form: `shell` for eval, `dotenv` for a file, `json`.
        state_dir: where the stack is found.
    """
    if form not in _FORMS:
        raise ConfigError(f"--format {form!r}: one of {', '.join(_FORMS)}")
    endpoints = backends.current(state_dir or default_state_dir()).endpoints()
    sys.stdout.write(_FORMS[form]({**endpoints.environment(), **_addresses(endpoints)}))
    return OK


def _addresses(endpoints: Endpoints) -> dict[str, str]:
    console = {"POOLHOUSE_CONSOLE_URL": endpoints.console_url} if endpoints.console_url else {}
    return {"POOLHOUSE_API_URL": endpoints.api_url, **console}


#: Only the kit's own repository has them.
IMPORT_RULES = Path("tests") / "kit" / "unit" / "test_imports.py"
#: How `invoke env` writes variables.
_FORMS: dict[str, Callable[[dict[str, str]], str]] = {
    "shell": lambda found: "".join(f"export {name}={shlex.quote(value)}\n" for name, value in found.items()),
    "dotenv": lambda found: "".join(f"{name}={value}\n" for name, value in found.items()),
    "json": lambda found: json.dumps(found, indent=2) + "\n",
}


def test(remainder: str) -> int:
    """Run the tests; `remainder` goes to pytest."""
    return _python("pytest", *pytest_arguments(remainder))


def check() -> int:
    """Check the declaration, format, lint, types and, in the kit's repository, imports; the first failure ends it.

    Raises:
        ConfigError: the handlers and pipeline.toml don't fit together.
    """
    from poolhouse.commands.project import declaration  # noqa: PLC0415 - no other command imports handlers

    declaration.check()
    checks = [("ruff", "format", "--check", "--quiet", "."), ("ruff", "check", "--quiet", "."), ("mypy",)]
    if (ROOT / IMPORT_RULES).is_file():
        checks.append(("pytest", "-q", "--no-header", str(IMPORT_RULES)))
    return next(filter(None, (_python(*words) for words in checks)), OK)


def _python(module: str, *arguments: str) -> int:
    """Run a module in the project's root, where the checkout may have any name. Returns its exit code."""
    command = (sys.executable, "-m", module, *arguments)
    return subprocess.run(command, cwd=ROOT, env=environment.child(), check=False).returncode


def pytest_arguments(remainder: str) -> list[str]:
    """What `invoke test -- ARGUMENTS` hands to pytest, before those given."""
    given = shlex.split(remainder)
    if any(part.startswith(("-n", "--pdb")) for part in given):
        return given
    # Groups: tests that share a whole stack run in one process, so that there is one stack.
    return ["-n", _test_processes(), "--dist", "loadgroup", *given]


def _test_processes() -> str:
    return str(max(2, os.cpu_count() or 2))
