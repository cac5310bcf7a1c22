"""Which release track of gcloud has which command: looked up once, since commands move from alpha to beta to GA."""

from __future__ import annotations

import contextlib
import functools
import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from poolhouse.cloud.errors import CloudError
from poolhouse.cloud.gcloud.runner import Gcloud

#: The completion table that ships with gcloud: reading it costs nothing, asking gcloud costs a second a question.
_TABLE = Path("data/cli/gcloud_completions.py")
_ASSIGNMENT = re.compile(r"^\w+ = ", re.M)
_PREFIXES = {"GA": (), "beta": ("beta",), "alpha": ("alpha",)}

#: Answers whether gcloud has a command, given by its arguments, with a flag.
HasFlag = Callable[[tuple[str, ...], str], bool]


@dataclass(frozen=True, kw_only=True)
class ReleaseTracks:
    """The commands and flags of the installed gcloud that move between release tracks."""

    worker_pools: tuple[str, ...] = ("run", "worker-pools")
    #: `--instances` in newer releases, `--scaling` in older ones.
    instances_flag: str = "instances"
    #: Whether single pools have policies: releases before 2026 know those of the project alone.
    pool_policies: bool = False
    policies: tuple[str, ...] = ("monitoring", "policies")
    channels: tuple[str, ...] = ("beta", "monitoring", "channels")
    identity: tuple[str, ...] = ("beta", "services", "identity")

    def summary(self) -> str:
        """Return one line for people: the commands that are used."""
        pools, policies = " ".join(self.worker_pools), " ".join(self.policies)
        return f"gcloud {pools} (--{self.instances_flag}), gcloud {policies}"


def choose(has: HasFlag) -> ReleaseTracks:
    """The best track of each group: GA before beta before alpha.

    Raises:
        CloudError: this gcloud has no such command in any track.
    """
    pools, _ = _first(("run", "worker-pools"), "replace", ("async",), has)
    policies, _ = _first(("monitoring", "policies"), "create", ("policy-from-file",), has)
    channels, _ = _first(("monitoring", "channels"), "list", ("filter",), has)
    identity, _ = _first(("services", "identity"), "create", ("service",), has)
    return ReleaseTracks(
        worker_pools=pools,
        instances_flag="instances" if has((*pools, "update"), "instances") else "scaling",
        pool_policies=has((*pools, "set-iam-policy"), "region"),
        policies=policies,
        channels=channels,
        identity=identity,
    )


def installed(gcloud: Gcloud) -> ReleaseTracks:
    """The tracks of the installed gcloud: from its completion table; where it has none, from its help texts."""
    table = completion_table(gcloud.program)
    return choose(from_table(table) if table is not None else gcloud.has_flag)


def from_table(tree: Mapping[str, object]) -> HasFlag:
    """Answer from gcloud's own completion table."""

    def has(arguments: tuple[str, ...], name: str) -> bool:
        node: object = tree
        for word in arguments:
            commands = node.get("commands") if isinstance(node, Mapping) else None
            node = commands.get(word) if isinstance(commands, Mapping) else None
        flags = node.get("flags") if isinstance(node, Mapping) else None
        return isinstance(flags, Mapping) and f"--{name}" in flags

    return has


def completion_table(gcloud: str) -> Mapping[str, object] | None:
    """The completion table of the gcloud at that path; None where that installation has none."""
    found = shutil.which(gcloud)
    if found is None:
        return None
    for parent in Path(found).resolve().parents:
        path = parent / _TABLE
        if path.is_file():
            return _parse(path)
    # A wrapper script (Debian's package) names the installation in its text.
    text = Path(found).read_text(encoding="utf-8", errors="replace")[:20_000]
    for root in re.findall(r"(/[\w./-]*google-cloud-sdk)\b", text):
        if (Path(root) / _TABLE).is_file():
            return _parse(Path(root) / _TABLE)
    return None


@functools.cache
def _parse(path: Path) -> Mapping[str, object] | None:
    text = path.read_text(encoding="utf-8")
    # One assignment of 6 MB, written as JSON: read as such in a twentieth of the second that Python's parser takes.
    assignment = _ASSIGNMENT.search(text)
    with contextlib.suppress(ValueError):
        value, _ = json.JSONDecoder().raw_decode(text, assignment.end() if assignment else 0)
        return value if isinstance(value, dict) else None
    import ast  # noqa: PLC0415 - only where it is a literal of Python's own, which is parsed and never executed

    module = ast.parse(text)
    for statement in module.body:
        if isinstance(statement, ast.Assign):
            value = ast.literal_eval(statement.value)
            return value if isinstance(value, dict) else None
    return None


def _first(group: tuple[str, ...], verb: str, flags: tuple[str, ...], has: HasFlag) -> tuple[tuple[str, ...], str]:
    for prefix in _PREFIXES.values():
        for name in flags:
            if has((*prefix, *group, verb), name):
                return (*prefix, *group), name
    raise CloudError(
        f"this gcloud has no `gcloud {' '.join(group)} {verb}` in any track: `gcloud components update`, and `gcloud "
        "components install alpha beta` for what is not released yet."
    )
