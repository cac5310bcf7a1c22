"""`invoke export WHAT`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from poolhouse.cloud import sbom
from poolhouse.commands.export import grafana, prometheus_rules, terraform
from poolhouse.pipeline.config import topology
from poolhouse.pipeline.config.topology import Topology
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.exit_codes import OK
from poolhouse.pipeline.nearest import did_you_mean
from poolhouse.project import ROOT

#: What is exported as one file.
EXPORTS: Mapping[str, Callable[[Topology], str]] = {
    "grafana": grafana.dashboard,
    "prometheus-rules": prometheus_rules.rules,
    "sbom": lambda declared: sbom.text(ROOT, name=declared.name),
}
#: What is exported as a folder.
TERRAFORM = "terraform"


def run(*, what: str, stage: str, file: str, folder: str = "", project: str = "", with_imports: bool = False) -> int:
    """Print an export, or write it to a file; Terraform's configuration goes to a folder.

    Raises:
        ConfigError: there is no such export, it does not take the options, pipeline.toml is wrong, or the file can't
            be written.
    """
    known = (*EXPORTS, TERRAFORM)
    if what not in known:
        raise ConfigError(f"there is no export {what!r} (exports: {', '.join(known)}).{did_you_mean(what, known)}")
    declared = topology.load(os.environ.get("PIPELINE_FILE") or ROOT / "pipeline.toml", stage=stage)
    if what == TERRAFORM:
        if file:
            raise ConfigError("export terraform writes several files: use --folder instead of --file.")
        return terraform.run(declared, project=project, folder=folder, with_imports=with_imports)
    if folder or project or with_imports:
        raise ConfigError(f"--folder, --project and --with-imports are for `export {TERRAFORM}`.")
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
