"""Show the logs of the services."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from poolhouse.client import units
from poolhouse.commands.output import out, plain
from poolhouse.local import backends, logs, state
from poolhouse.local.backend import Backend, default_state_dir
from poolhouse.local.errors import NoStack
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.exit_codes import FAILED, OK
from poolhouse.pipeline.visible import visible

_COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "bright_red", "bright_cyan", "bright_magenta")


def show_logs(
    service: str | None = None,
    *,
    follow: bool = False,
    lines: int = 50,
    raw: bool = False,
    state_dir: Path | None = None,
) -> int:
    """Show the logs of one service or of all; those of the last stack if none is up."""
    lines = units.positive(lines, option="--lines")
    state_dir = state_dir or default_state_dir()
    backend = backends.last(state_dir)
    files = backend.log_files()
    if files is None:
        return show_engine_logs(backend, service, follow=follow, lines=lines, raw=raw)
    if not files:
        raise NoStack
    if not logs.chosen(files, service):
        raise ConfigError(f"there is no log of {service!r} (there are: {', '.join(files)})")
    printer = LinePrinter(raw=raw)
    for name, line in logs.last(logs.chosen(files, service), lines):
        printer.print(name, line)
    if follow:
        for name, line in logs.follow(
            lambda: logs.chosen(backend.log_files() or {}, service),
            alive=lambda: state.read_live(state_dir) is not None,
        ):
            printer.print(name, line)
    return OK


def show_engine_logs(backend: Backend, service: str | None, *, follow: bool, lines: int, raw: bool) -> int:
    """Show the logs that the container engine keeps, in the same form as those of processes."""
    command = backend.log_command(service, follow=follow, lines=lines)
    if command is None:
        return FAILED
    printer = LinePrinter(raw=raw)
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


class LinePrinter:
    """Prints each line after the name of its instance; every instance has its own colour."""

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
            out.print(f"[{colour}]{name:<10}│[/] {plain(part)}")
