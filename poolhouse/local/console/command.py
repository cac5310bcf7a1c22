"""What `invoke console` does. Returns its exit code."""

from __future__ import annotations

import webbrowser
from pathlib import Path

from poolhouse.local import backends
from poolhouse.local.backend import default_state_dir
from poolhouse.local.console import server
from poolhouse.local.console.app import create_app
from poolhouse.local.console.stacks import LocalStack, Stack
from poolhouse.local.processes import ports
from poolhouse.local.processes.addresses import USUAL_CONSOLE_PORT


def show(*, port: int | None = None, open_it: bool = False, state_dir: Path | None = None) -> int:
    """Show the address of the console of the stack that is up; of a stack without one, run it until Ctrl-C.

    Args:
        port: of one that is run; None: 8081 if it is free, else any.
        open_it: open it in the browser.
        state_dir: where the stack is found.

    Raises:
        StackError: no stack is up, or the port is taken.
        ConfigError: ALLOWED_HOSTS or ALLOWED_ORIGINS can't be.
    """
    state_dir = state_dir or default_state_dir()
    url = backends.current(state_dir).endpoints().console_url
    if url is None:
        stack = LocalStack(lambda: backends.current(state_dir), state_dir=state_dir)
        return run(stack, port=port, open_it=open_it)
    print(url)
    if open_it:
        webbrowser.open(url)
    return 0


def run(stack: Stack, *, port: int | None = None, open_it: bool = False) -> int:
    """Run a console until Ctrl-C; arguments and errors as for `show`."""
    guard = server.guard()
    listener = ports.listen_near(port, preferred=USUAL_CONSOLE_PORT, what="the console (--port)")
    url = f"http://{ports.HOST}:{listener.getsockname()[1]}"
    print(f"{url}   (Ctrl-C stops it)", flush=True)
    if open_it:
        webbrowser.open(url)  # its connection waits in the socket
    server.serve(create_app(stack, guard=guard), listener)
    return 0
