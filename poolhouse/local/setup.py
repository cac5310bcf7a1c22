"""`python -m poolhouse.local.setup`: makes what pipeline.toml declares on the servers that the environment names."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from functools import partial

from poolhouse.local.compose import workers
from poolhouse.local.errors import StackError
from poolhouse.local.probe import answers
from poolhouse.local.provision import realise
from poolhouse.local.storage.fake_gcs import FakeGcs
from poolhouse.pipeline.config import settings
from poolhouse.pipeline.config.topology import Topology
from poolhouse.pipeline.errors import ConfigError, PoolhouseError

_POLL_S = 0.05


def main() -> int:
    """Realise the topology; 0 done, 1 failed, 2 wrong settings."""
    parser = argparse.ArgumentParser(
        prog="python -m poolhouse.local.setup", description="Make topics, subscriptions and bucket."
    )
    parser.add_argument("--wait", type=float, default=0, metavar="S", help="wait up to S seconds for the servers (0)")
    options = parser.parse_args()
    try:
        loaded = settings.load()
        _check_workers(loaded.topology, os.environ.get(workers.VARIABLE))
        _check_events(loaded.topology, os.environ.get(workers.EVENTS))
        _await_servers(time.monotonic() + options.wait)
        changes = realise(loaded)
    except PoolhouseError as error:
        sys.stderr.write(f"{error}\n")
        return 2 if isinstance(error, ConfigError) else 1
    sys.stdout.write(f"created {len(changes.created)}, updated {len(changes.updated)}\n")
    return 0


def _check_workers(topology: Topology, listed: str | None) -> None:
    """Refuse queues that would have no worker: their tasks would wait for ever. Raises `ConfigError`.

    Args:
        topology: what is to be made.
        listed: the queues that docker-compose.yml has workers for; None: it is not Compose that runs this.
    """
    if listed is None:
        return
    queues, served = [queue.name for queue in topology.queues], listed.split(",")
    wrong = [f"no worker for the queue {queue}" for queue in queues if queue not in served]
    wrong += [f"a worker for the queue {queue}, which is not declared" for queue in served if queue not in queues]
    if wrong:
        raise ConfigError(
            f"docker-compose.yml is older than pipeline.toml, it has {', '.join(wrong)}: {workers.RENEW} renews it"
        )


def _check_events(topology: Topology, told: str | None) -> None:
    """Refuse triggers that nothing would tell of new objects. Raises `ConfigError`.

    Args:
        topology: what is to be made.
        told: what docker-compose.yml tells of; None: it is not Compose that runs this.
    """
    if told is not None and told != workers.events(topology):
        raise ConfigError(
            f"docker-compose.yml is older than pipeline.toml, whose triggers are others: {workers.RENEW} renews it"
        )


def _await_servers(deadline_s: float) -> None:
    """Wait until the servers that the environment names answer. Raises `StackError`."""
    pubsub, storage = os.environ.get("PUBSUB_EMULATOR_HOST"), os.environ.get("STORAGE_EMULATOR_HOST")
    looks: dict[str, Callable[[], bool]] = {}
    if pubsub:
        looks[pubsub] = partial(answers, f"http://{pubsub}/")
    if storage:
        looks[storage] = FakeGcs(storage).healthy
    for name, ready in looks.items():
        while not ready():
            if time.monotonic() > deadline_s:
                raise StackError(f"{name} does not answer")
            time.sleep(_POLL_S)


if __name__ == "__main__":
    sys.exit(main())
