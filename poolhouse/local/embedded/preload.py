"""Import a program's libraries, wait for the word, then run it: `python -m poolhouse.local.embedded.preload MODULE …`.

Importing Google's client libraries takes longer than all else at a start. So the API and the workers import while the
servers that they need come up, wait for the word `go` on standard input, and run. Without it, should the supervisor
end meanwhile, they end too.

With `--libraries` before MODULE only what others wrote is imported beforehand: the program's own code is read after the
word, as it is then.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import runpy
import sys
from collections.abc import Iterable

from poolhouse.local.processes import environment

_GO = "go\n"
#: The heaviest imports of each program; what is not named is imported when it runs.
_HEAVY = {
    "poolhouse.api": ("poolhouse.api.app", "uvicorn"),
    "poolhouse.worker": ("poolhouse.worker.runtime.worker",),
}
#: The same without the program's own code.
_LIBRARIES = ("google.cloud.pubsub_v1", "google.cloud.storage", "google_crc32c", "structlog", "pydantic_settings")
_HEAVY_LIBRARIES = {
    "poolhouse.api": (*_LIBRARIES, "fastapi", "uvicorn", "requests"),
    "poolhouse.worker": (*_LIBRARIES, "requests", "cronsim"),
}


def main(module: str, *arguments: str, libraries: bool = False) -> None:
    """Import, wait for the word, run."""
    _import((_HEAVY_LIBRARIES if libraries else _HEAVY).get(module, ()))
    # Only now: `google` is a namespace, and any module of that name, wherever on the path, would come before it.
    sys.path += environment.search_path(os.environ)
    if not libraries:
        _import(name for name in os.environ.get("TASK_HANDLERS", "").split(",") if name)
    if sys.stdin.readline() != _GO:
        sys.exit(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _import(names: Iterable[str]) -> None:
    for name in names:
        # Whatever is wrong with a module, the program meets it again and says it in its own words.
        with contextlib.suppress(Exception):
            importlib.import_module(name)


if __name__ == "__main__":
    if sys.argv[1] == "--libraries":
        main(*sys.argv[2:], libraries=True)
    else:
        main(*sys.argv[1:])
