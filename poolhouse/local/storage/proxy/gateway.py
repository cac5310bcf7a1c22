"""`python -m poolhouse.local.storage.proxy.gateway PORT=HOST:PORT…`: fronts for servers in other containers.

What a container publishes on this machine, web pages reach as well. So the servers of the Compose stack publish no
port; this does for them.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import os
import signal
import sys

from poolhouse.local.storage.proxy.front import Front, new_loop
from poolhouse.pipeline.web_guard import WebGuard


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m poolhouse.local.storage.proxy.gateway",
        description="Keep web pages of other sites off some servers.",
    )
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on (%(default)s)")  # noqa: S104
    parser.add_argument("servers", nargs="+", type=_server, metavar="PORT=HOST:PORT", help="port here, and the server")
    options = parser.parse_args(arguments)
    try:
        guard = WebGuard.from_environment(os.environ)
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(_run(options.host, options.servers, guard))
    except (OSError, ValueError) as error:
        print(f"gateway: {error}", file=sys.stderr)
        return 1
    return 0


def _server(text: str) -> tuple[int, str, int]:
    port, _, address = text.partition("=")
    host, _, inner = address.rpartition(":")
    if not (port.isdigit() and host and inner.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not PORT=HOST:PORT")
    return int(port), host, int(inner)


async def _run(host: str, servers: list[tuple[int, str, int]], guard: WebGuard) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    members: set[Front] = set()
    listeners = []
    for port, name, inner in servers:
        connect = functools.partial(loop.create_connection, host=name, port=inner)
        make = functools.partial(Front, guard=guard, connect=connect, members=members)
        listeners.append(await loop.create_server(make, host, port, backlog=512))
    await stop.wait()
    for listener in listeners:
        listener.close()
    for member in list(members):
        if member.transport is not None:
            member.transport.close()


if __name__ == "__main__":
    sys.exit(main())
