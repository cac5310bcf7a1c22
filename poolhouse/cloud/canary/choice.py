"""The share and the watch of a deploy: what pipeline.toml declares, or what the command line says instead."""

from __future__ import annotations

from poolhouse.client import units
from poolhouse.pipeline import numbers
from poolhouse.pipeline.config.deploy_options import Canary
from poolhouse.pipeline.config.topology import Topology
from poolhouse.pipeline.errors import ConfigError


def choose(declared: Topology, *, canary: str, watch: str) -> Canary:
    """Return the canary of a deploy; with a share of 0 it has none.

    Args:
        declared: pipeline.toml. A preview has a canary on demand alone: it has no requests to be judged by.
        canary: the option `--canary`; empty: as declared.
        watch: the option `--watch`; empty: as declared.

    Raises:
        ConfigError: an option makes no sense.
    """
    chosen = declared.deploy.canary
    if declared.stage.preview:
        chosen = chosen.model_copy(update={"percent": 0})
    if canary:
        try:
            percent = numbers.whole(canary)
        except ValueError:
            percent = -1
        if not 0 <= percent <= 99:
            raise ConfigError(f"--canary {canary}: a share from 1 to 99, in percent; or 0 for none.")
        chosen = chosen.model_copy(update={"percent": percent})
    if watch:
        if not chosen.percent:
            raise ConfigError("--watch is for a canary: name its share too, as --canary 10.")
        watch_s = units.duration(watch, option="--watch").total_seconds()
        if not watch_s:
            raise ConfigError(f"--watch {watch!r}: a canary has to be watched for some time.")
        chosen = chosen.model_copy(update={"watch_s": watch_s})
    return chosen
