"""`python -m poolhouse.local.console`: serve the console of a stack, on this machine only, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from pathlib import Path

from poolhouse.local import backends
from poolhouse.local.backend import default_state_dir
from poolhouse.local.console import server
from poolhouse.local.console.app import create_app
from poolhouse.local.console.stacks import LocalStack
from poolhouse.local.errors import StackError
from poolhouse.local.processes import ports
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.exit_codes import OK, USAGE
from poolhouse.pipeline.timing import clock
from poolhouse.pipeline.timing.clock import ShiftedClock


def main(arguments: list[str] | None = None) -> int:
    """Run the console; returns the exit code."""
    options = _options(arguments)
    try:
        guard = server.guard()
        listener = ports.listen(options.port) if options.fd is None else socket.socket(fileno=options.fd)
    except (ConfigError, StackError, OSError) as error:
        print(f"console: {error}", file=sys.stderr)
        return USAGE
    if options.fd is None:
        print(f"http://{ports.HOST}:{listener.getsockname()[1]}", flush=True)
    clock_file = os.environ.get("CLOCK_FILE")
    now = ShiftedClock(clock_file) if clock_file else clock.now
    stack = LocalStack(lambda: backends.current(options.state_dir), state_dir=options.state_dir, now=now)
    server.serve(create_app(stack, guard=guard), listener)
    return OK


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m poolhouse.local.console", description="Serve the console of a local stack."
    )
    parser.add_argument(
        "--state-dir", type=Path, default=default_state_dir(), help="where the stack is found (POOLHOUSE_STATE_DIR)"
    )
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 for any (%(default)s)")
    parser.add_argument("--fd", type=int, metavar="N", help="take the listening socket that this process inherits as N")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
