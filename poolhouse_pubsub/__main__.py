"""The emulator alone: `python -m poolhouse_pubsub --port 8085`."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from poolhouse_pubsub.core.clock import Clock
from poolhouse_pubsub.declared import TopologyError
from poolhouse_pubsub.service.throughput import QUOTAS, parse_quota
from poolhouse_pubsub.transport.async_server import new_loop, serve
from poolhouse_pubsub.transport.web_guard import LOCAL, WebGuard
from poolhouse_pubsub.version import __version__


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server until SIGINT or SIGTERM; return the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        options.guard = WebGuard.of(hosts=options.allowed_hosts, origins=options.allowed_origins)
    except ValueError as error:
        parser.error(str(error))
    # Messages are many small objects that live long and never refer to each other. With the collector's defaults,
    # looking through them takes a third of the time of a pull.
    gc.set_threshold(50_000, 20, 100)
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
            export_dir=options.export_dir,
            enforce_iam=_bindings(options.enforce_iam) if options.enforce_iam else None,
            quotas=dict(options.quota),
            guard=options.guard,
            ui=options.ui,
        ) as server:
            if options.port_file is not None:
                # In one step: who waits for the file never reads half of it.
                unfinished = options.port_file.with_name(options.port_file.name + ".part")
                unfinished.write_text(f"{server.port}\n")
                unfinished.replace(options.port_file)
            print(f"Pub/Sub emulator ready: PUBSUB_EMULATOR_HOST={server.host}:{server.port}", flush=True)
            if options.ui:
                print(f"Console: http://{_reachable(server.host)}:{server.port}/ui", flush=True)
            await stopping.wait()
    except (OSError, TopologyError) as error:
        print(f"The Pub/Sub emulator can't start: {error}", file=sys.stderr)
        return 1
    return 0


def _reachable(host: str) -> str:
    """Return an address for a browser on this machine, of one to listen on."""
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 - compared, not listened on
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _bindings(options: Sequence[str]) -> dict[str, list[str]]:
    """Members by role, of options such as `roles/owner=user:me@example.com`."""
    bindings: dict[str, list[str]] = defaultdict(list)
    for option in options:
        role, _, member = option.partition("=")
        bindings[role].append(member)
    return bindings


def _quota(text: str) -> tuple[str, float]:
    try:
        return parse_quota(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="poolhouse-pubsub",
        description="A Pub/Sub emulator: gRPC, REST, administration and a console on one port.",
        epilog="Exports and imports of Cloud Storage use the server that STORAGE_EMULATOR_HOST names, exports to "
        "BigQuery that of BIGQUERY_EMULATOR_HOST.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8085, help="port, 0 for a free one (default: %(default)s)")
    parser.add_argument(
        "--port-file", type=Path, metavar="FILE", help="file that the port is written to when it answers"
    )
    parser.add_argument("--ui", action="store_true", help="serve the console, pages for a browser, under /ui")
    parser.add_argument("--data-dir", type=Path, metavar="FOLDER", help="folder that keeps everything over restarts")
    parser.add_argument(
        "--export-dir",
        type=Path,
        metavar="FOLDER",
        help="folder for tables of BigQuery and Bigtable subscriptions (default: exports in --data-dir)",
    )
    parser.add_argument(
        "--enforce-iam",
        action="append",
        metavar="ROLE=MEMBER",
        help="refuse what is not granted, by this binding of every project or by a resource's policy; may be repeated",
    )
    parser.add_argument(
        "--quota",
        action="append",
        type=_quota,
        default=[],
        metavar="KIND=AMOUNT",
        help=f"throughput a second, such as publish=4MB; may be repeated; kinds: {', '.join(QUOTAS)}",
    )
    parser.add_argument("--topology", type=Path, help="TOML or JSON file with topics and subscriptions to begin with")
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
    parser.add_argument(
        "--manual-clock", action="store_true", help="time moves only by POST /admin/clock/advance, or by hand"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
