"""`python -m poolhouse.local.storage.proxy`: fake-gcs-server behind a front that keeps web pages of other sites out."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from poolhouse.local.errors import StackError
from poolhouse.local.processes import parent_death
from poolhouse.local.storage import fake_gcs
from poolhouse.local.storage.proxy.faults import Faults
from poolhouse.local.storage.proxy.front import Front, new_loop
from poolhouse.local.storage.proxy.limits import WriteLimits
from poolhouse.local.storage.proxy.mutations import Mutation
from poolhouse.local.storage.proxy.server import relaying
from poolhouse.pipeline.web_guard import WebGuard

_POLL_S = 0.01
#: What the server gets to end after SIGTERM, in seconds.
_GRACE_S = 2.0


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m poolhouse.local.storage.proxy", description="Serve a bucket on this machine."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, required=True, help="port to listen on")
    parser.add_argument("--root", type=Path, required=True, help="folder of the objects")
    parser.add_argument(
        "--inner", metavar="HOST:PORT", help="where the server itself listens (an address that pages can't guess)"
    )
    parser.add_argument(
        "--gcs-limits", action="store_true", help="take changes at the rates of Cloud Storage's quotas and no faster"
    )
    parser.add_argument("more", nargs="*", metavar="ARGUMENT", help="further arguments of fake-gcs-server, after --")
    options = parser.parse_args(arguments)
    try:
        inner = options.inner or fake_gcs.hidden_address()
        guard = WebGuard.from_environment(os.environ)
        with asyncio.Runner(loop_factory=new_loop) as runner:
            address, more = (options.host, options.port), tuple(options.more)
            return runner.run(
                _run(address, inner=inner, root=options.root, guard=guard, limited=options.gcs_limits, more=more)
            )
    except (OSError, ValueError, StackError) as error:
        print(f"storage: {error}", file=sys.stderr)
        return 1


async def _run(
    address: tuple[str, int], *, inner: str, root: Path, guard: WebGuard, limited: bool, more: Sequence[str]
) -> int:
    """Run server and front until either ends, or this process is stopped; return the exit code.

    Args:
        address: of the front.
        inner: HOST:PORT for programs that need no front.
        root: folder of the objects.
        guard: says what web pages may do.
        limited: whether changes are taken at Cloud Storage's rates only: the server is behind those, at an address of
            its own.
        more: further arguments of the server.
    """
    async with contextlib.AsyncExitStack() as stack:
        server = inner
        if limited:
            server = fake_gcs.hidden_address()
            relay = relaying(
                _split(inner),
                server=_split(server),
                faults=Faults(random.Random(0)),
                write_limits=WriteLimits(on_refused=_report),
            )
            await stack.enter_async_context(relay)
        return await _serve(address, inner=inner, server=server, root=root, guard=guard, more=more)


def _split(address: str) -> tuple[str, int]:
    host, _, digits = address.rpartition(":")
    return host, int(digits)


def _report(mutation: Mutation) -> None:
    print(f"storage: 429, changed again too early: {mutation.kind} {mutation.name}", file=sys.stderr, flush=True)


async def _serve(
    address: tuple[str, int], *, inner: str, server: str, root: Path, guard: WebGuard, more: Sequence[str]
) -> int:
    loop = asyncio.get_running_loop()
    host, port = address
    inner_host, inner_port = _split(inner)
    server_host, server_port = _split(server)
    members: set[Front] = set()

    def front() -> Front:
        return Front(
            guard=guard,
            connect=lambda factory: loop.create_connection(factory, inner_host, inner_port),
            members=members,
        )

    # The outer port first: one that is taken is found out before anything else is started.
    listener = await loop.create_server(front, host, port, backlog=512, start_serving=False)
    command = fake_gcs.server_command(host=server_host, port=server_port, public=f"{host}:{port}", root=root)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", str(Path(parent_death.__file__)), str(os.getpid())), *command, *more
    )
    ended = asyncio.ensure_future(process.wait())
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    stopped = asyncio.ensure_future(stop.wait())
    opened = asyncio.ensure_future(_answers(server_host, server_port))
    await asyncio.wait({ended, stopped, opened}, return_when=asyncio.FIRST_COMPLETED)
    if opened.done():
        await listener.start_serving()
        await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
    opened.cancel()
    listener.close()
    for member in list(members):
        if member.transport is not None:
            member.transport.close()
    if ended.done():
        stopped.cancel()
        return process.returncode or 1
    process.terminate()
    try:
        await asyncio.wait_for(ended, _GRACE_S)
    except TimeoutError:
        process.kill()
        await process.wait()
    return 0


async def _answers(host: str, port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            await asyncio.sleep(_POLL_S)
        else:
            writer.close()
            return


if __name__ == "__main__":
    sys.exit(main())
