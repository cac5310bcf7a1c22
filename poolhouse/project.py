"""The folder of the project: where pipeline.toml, the handlers and the lock files are."""

from __future__ import annotations

import os
from pathlib import Path


def find(start: Path) -> Path:
    """Return the nearest folder at or above `start` that holds a pipeline.toml; `start` itself where none does."""
    return next((folder for folder in (start, *start.parents) if (folder / "pipeline.toml").is_file()), start)


#: The project this process works on: POOLHOUSE_PROJECT, or found from the working directory.
ROOT = find(Path(os.environ.get("POOLHOUSE_PROJECT") or Path.cwd()).resolve())
