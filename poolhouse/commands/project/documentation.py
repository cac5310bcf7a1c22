"""`invoke docs`: the generated pages, and the documentation site."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from poolhouse.commands.project import metrics_reference, pipeline_reference
from poolhouse.project import ROOT

#: The page that is made of the models.
REFERENCE = Path("docs") / "pipeline-toml.md"
#: The page with a table that is made of the definitions.
METRICS = Path("docs") / "metrics.md"


def build(root: Path = ROOT) -> int:
    """Write what is generated and build the site in `site/`; a warning is an error. Returns the exit code."""
    (root / REFERENCE).write_text(pipeline_reference.markdown(), encoding="utf-8")
    metrics_page = root / METRICS
    metrics_page.write_text(metrics_reference.current(metrics_page.read_text(encoding="utf-8")), encoding="utf-8")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
    # Its authors' announcement about another program goes to standard error of each build.
    code = subprocess.run(command, cwd=root, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, check=False).returncode
    if code == 0:
        print(f"built {root / 'site' / 'index.html'}")
    return code
