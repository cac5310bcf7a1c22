"""The emulator alone: `python -m poolhouse_pubsub --port 8085`."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from poolhouse_pubsub.core.clock import Clock
from poolhouse_pubsub.declared import TopologyError
from poolhouse_pubsub.transport.async_server import new_loop, serve
from poolhouse_pubsub.transport.web_guard import LOCAL, WebGuard


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the server until SIGINT or SIGTERM; returns the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        options.guard = WebGuard.of(hosts=options.allowed_hosts, origins=options.allowed_origins)
    except ValueError as error:
        parser.error(str(error))
    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            return runner.run(_run(options))
    except KeyboardInterrupt:
        return 0  # a signal before the handlers were set


async def _run(options: argparse.Namespace) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    try:
        async with serve(
            host=options.host,
            port=options.port,
            topology=options.topology,
            project=options.project,
            data_dir=options.data_dir,
            clock=Clock(manual=options.manual_clock),
            seed=options.seed,
            guard=options.guard,
        ) as server:
            if options.port_file is not None:
                # In one step: who waits for the file never reads half of it.
                unfinished = options.port_file.with_name(options.port_file.name + ".part")
                unfinished.write_text(f"{server.port}\n")
                unfinished.replace(options.port_file)
            print(f"Pub/Sub emulator ready: PUBSUB_EMULATOR_HOST={server.host}:{server.port}", flush=True)
            await stopping.wait()
    except (OSError, TopologyError) as error:
        print(f"The Pub/Sub emulator can't start: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m poolhouse_pubsub",
        description="A Pub/Sub emulator: gRPC, REST and administration on one port.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8085, help="port, 0 for a free one (default: %(default)s)")
    parser.add_argument("--port-file", type=Path, help="file that the port is written to when it answers")
    parser.add_argument("--data-dir", type=Path, help="folder that keeps everything over restarts")
    parser.add_argument("--topology", type=Path, help="pipeline.toml, or a list of topics and subscriptions")
    parser.add_argument(
        "--project",
        default=os.environ.get("GOOGLE_CLOUD_PROJECT", "local-project"),
        help="project of the topology's ids (default: GOOGLE_CLOUD_PROJECT, else local-project)",
    )
    parser.add_argument(
        "--allowed-hosts",
        metavar="HOSTS",
        default=os.environ.get("ALLOWED_HOSTS") or LOCAL,
        help="names that HTTP clients call it by, separated by commas; `local` stands for IP addresses and for names "
        "outside the public DNS (default: ALLOWED_HOSTS, else local)",
    )
    parser.add_argument(
        "--allowed-origins",
        metavar="ORIGINS",
        default=os.environ.get("ALLOWED_ORIGINS"),
        help="origins of web pages that may call it, separated by commas (default: ALLOWED_ORIGINS, else none)",
    )
    parser.add_argument("--seed", type=int, help="makes everything random repeatable")
    parser.add_argument("--manual-clock", action="store_true", help="time moves only by POST /admin/clock/advance")
    return parser


if __name__ == "__main__":
    sys.exit(main())
