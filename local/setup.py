"""`python -m local.setup`: makes what pipeline.toml declares on the servers that the environment names."""

from __future__ import annotations

import sys

from local.topology import realise
from pipeline import settings
from pipeline.errors import ConfigError, PoolhouseError


def main() -> int:
    """Realise the topology; 0 done, 1 failed, 2 wrong settings."""
    try:
        changes = realise(settings.load())
    except PoolhouseError as error:
        sys.stderr.write(f"{error}\n")
        return 2 if isinstance(error, ConfigError) else 1
    sys.stdout.write(f"created {len(changes.created)}, updated {len(changes.updated)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
