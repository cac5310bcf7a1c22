"""`invoke export WHAT`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from poolhouse.commands.export import grafana, prometheus_rules
from poolhouse.pipeline.config import topology
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.exit_codes import OK
from poolhouse.pipeline.nearest import did_you_mean
from poolhouse.project import ROOT

#: What can be exported.
EXPORTS = {"grafana": grafana.dashboard, "prometheus-rules": prometheus_rules.rules}


def run(*, what: str, stage: str, file: str) -> int:
    """Print an export, or write it to a file.

    Raises:
        ConfigError: there is no such export, pipeline.toml is wrong, or the file can't be written.
    """
    if what not in EXPORTS:
        raise ConfigError(f"there is no export {what!r} (exports: {', '.join(EXPORTS)}).{did_you_mean(what, EXPORTS)}")
    declared = topology.load(os.environ.get("PIPELINE_FILE") or ROOT / "pipeline.toml", stage=stage)
    text = EXPORTS[what](declared)
    if not file:
        sys.stdout.write(text)
        return OK
    try:
        Path(file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--file {file}: {error.strerror}") from None
    print(f"wrote {file}")
    return OK
