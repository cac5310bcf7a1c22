"""Stages: deployments of one pipeline side by side, each the declaration with some of it changed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from poolhouse.pipeline.errors import ConfigError

#: What a stage may change.
TABLES = frozenset(
    {
        "name",
        "ref",
        "deploy",
        "console",
        "env",
        "secrets",
        "queues",
        "schedules",
        "triggers",
        "payloads",
        "bucket",
        "webhooks",
    }
)
_KEY = re.compile(r"[a-z][a-z0-9-]*\*?")
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
#: Ends of names that every deployment has beside those of its queues and schedules.
_FIXED = (
    "api",
    "worker",
    "dead-letters",
    "scheduler",
    "builder",
    "autoscaler",
    "console",
    "deployer",
    "build",
    "github",
    "pipeline",
)


class StageError(ConfigError):
    """A mistake in the stages of a declaration.

    Args:
        message: what is wrong.
        path: keys of the table or field below [stages] that it is in.
    """

    def __init__(self, message: str, *path: str) -> None:
        """Keep where it is."""
        super().__init__(message)
        self.path = ("stages", *path)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of a declaration."""

    #: What `--stage` names; empty: the declaration as it stands.
    name: str = ""
    #: The table under [stages] that it is made by: its name, or a pattern such as `pr-*`.
    key: str = ""
    #: The branch or tag that deploys it from GitHub, such as `refs/heads/main`; empty: none is named.
    ref: str = ""
    #: Name of its resources' prefix.
    pipeline: str
    #: Prefix of the service accounts and secrets: its own, or, for one of a pattern, shared by all of them.
    family: str

    @property
    def preview(self) -> bool:
        """Whether it is one of many that come and go: made by a pattern."""
        return self.key.endswith("*")


def choose(document: Mapping[str, Any], name: str) -> tuple[Stage, dict[str, Any]]:
    """The stage of that name, and its declaration, without the other stages.

    Args:
        document: a `pipeline.toml`, parsed.
        name: of the stage; empty: none of them.

    Raises:
        StageError: there is no such stage, or a stage has a name or table that it can't have.
    """
    base = {key: value for key, value in document.items() if key != "stages"}
    pipeline = str(base.get("name", "poolhouse"))
    stages = document.get("stages", {})
    odd = [key for key, table in stages.items() if not isinstance(table, dict)] if isinstance(stages, dict) else []
    if odd or not isinstance(stages, dict):
        raise StageError("write one table for each, as in [stages.NAME]", *odd[:1])
    for key, table in stages.items():
        _check(key, table)
    if not name:
        return Stage(pipeline=pipeline, family=pipeline), base
    key = find(stages, name)
    table = dict(stages[key])
    ref = str(table.pop("ref", ""))
    prefix = str(table.pop("name", f"{pipeline}-{name}"))
    family = f"{pipeline}-{key.rstrip('-*')}" if key.endswith("*") else prefix
    stage = Stage(name=name, key=key, ref=ref, pipeline=prefix, family=family)
    return stage, {**merge(base, table), "name": prefix}


def find(stages: Iterable[str], name: str) -> str:
    """The key of the stage with that name: the name itself, else the pattern that it fits. Raises `StageError`."""
    keys = tuple(stages)
    if name in keys and not name.endswith("*"):
        return name
    for key in keys:
        rest = name.removeprefix(key[:-1])
        if key.endswith("*") and rest != name and _NAME.fullmatch(rest):
            return key
    raise StageError(
        f"there is no stage {name!r}: pipeline.toml has {', '.join(f'[stages.{key}]' for key in keys) or 'none'}"
    )


def merge(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """The base with tables changed key by key, and all else replaced."""
    result = dict(base)
    for key, value in change.items():
        present = result.get(key)
        result[key] = merge(present, value) if isinstance(present, dict) and isinstance(value, dict) else value
    return result


def check_apart(deployments: Iterable[tuple[Stage, Sequence[str]]]) -> None:
    """Check that no two deployments in one project could call two things alike.

    Args:
        deployments: each stage, and the names of its queues and schedules.

    Raises:
        StageError: two have one prefix, or what one appends to its prefix begins like the prefix of another.
    """
    pairs = tuple(deployments)
    seen: set[str] = set()
    for stage, _ in pairs:
        if stage.pipeline in seen:
            raise StageError(f"two stages have the prefix {stage.pipeline!r}", stage.key)
        seen.add(stage.pipeline)
    for stage, own in pairs:
        for other, _ in pairs:
            rest = other.pipeline.removeprefix(f"{stage.pipeline}-")
            if rest == other.pipeline:
                continue
            for name in (*_FIXED, *own, *(f"run-{queue}" for queue in own)):
                if name == rest or name.startswith(f"{rest}-"):
                    raise StageError(
                        f"the prefix {other.pipeline!r} would make things of the same name as {stage.pipeline!r} with "
                        f"its {name!r}: rename one of them, or give the stage another `name`",
                        other.key,
                    )


def _check(key: str, table: Mapping[str, Any]) -> None:
    if not _KEY.fullmatch(key):
        raise StageError(f"{key!r}: lowercase letters, digits and -, with one * at the end for a pattern", key)
    if unknown := sorted(table.keys() - TABLES):
        allowed = ", ".join(sorted(TABLES))
        raise StageError(f"unknown field {unknown[0]!r} (allowed: {allowed})", key, unknown[0])
    if key.endswith("*") and "name" in table:
        raise StageError("stages of a pattern are named after themselves: leave `name` out", key, "name")
