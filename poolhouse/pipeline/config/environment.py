"""`[env]` and `[secrets]` of pipeline.toml: variables that handlers read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

#: Set by what starts the processes: the declaration can't mean anything else by them.
RESERVED = frozenset(
    {
        "API_ACCESS", "BACKLOG_SOURCE", "BUCKET_NAME", "GOOGLE_CLOUD_PROJECT", "HOME", "HOST", "PATH", "PIPELINE_FILE",
        "PIPELINE_STAGE", "PORT", "PUBSUB_EMULATOR_HOST", "PYTHONPATH", "STORAGE_EMULATOR_HOST", "STORAGE_PUBLIC_URL",
    }
)  # fmt: skip
_PREFIXES = ("K_", "CLOUD_RUN_", "X_GOOGLE_", "GOOGLE_APPLICATION_")


def _own(name: str) -> str:
    if name in RESERVED or name.startswith(_PREFIXES):
        raise ValueError(f"{name} is set by the deployment itself: choose another name")
    return name


Variable = Annotated[str, Field(pattern=r"^[A-Z_][A-Z0-9_]{0,99}$"), AfterValidator(_own)]
#: Which version of a secret: the newest, as each instance starts, or one by its number.
Version = Literal["latest"] | Annotated[int, Field(strict=True, ge=1)]
Env = dict[Variable, str]
Secrets = dict[Variable, Version]


def check(env: Mapping[str, object], secrets: Mapping[str, object]) -> None:
    """Check that no name is both a variable and a secret. Raises `ValueError`."""
    if both := sorted(env.keys() & secrets.keys()):
        raise ValueError(f"{both[0]} is under [env] and under [secrets]: it can be one of them")
