"""Whether the handlers and `pipeline.toml` fit together: asked before anything is built or deployed."""

from __future__ import annotations

from pathlib import Path

from poolhouse.pipeline.config import topology
from poolhouse.pipeline.config.topology import Topology
from poolhouse.project import ROOT
from poolhouse.worker import registry

PIPELINE_FILE = ROOT / "pipeline.toml"


def check(declared: Topology | None = None, *, file: Path = PIPELINE_FILE) -> None:
    """Import the handlers that the declaration names, and compare.

    Args:
        declared: a stage of the file; None: the declaration as it stands.
        file: where it is from, for what is said of it.

    Raises:
        ConfigError: a handler is on a queue that is not declared, a schedule is of a task type without a handler, or
            the handlers can't be imported; with the line of each.
    """
    declared = declared or topology.load(file)
    registry.load(declared.handlers_under(declared.env)).check(declared, declared_in=str(file))
