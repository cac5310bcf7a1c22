"""What a case is, and what is checked of the tasks it submits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from poolhouse.local.e2e import compare
from poolhouse.local.e2e.client import Client

Record = dict[str, Any]
#: Given the ended records, in the order of the ids: the differences from what must be.
Check = Callable[[Client, Sequence[Record]], list[str]]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One thing to try."""

    name: str
    #: The call that it is submitted through, for the table.
    through: str
    #: Submits, and returns the ids of the tasks.
    submit: Callable[[Client], Sequence[str]]
    check: Check
    #: Part of the reason with which its tasks must be among the dead letters; None: they must not be there.
    dead_letter: str | None = None


def one(path: str, body: Mapping[str, Any]) -> Callable[[Client], list[str]]:
    """Submits one task."""
    return lambda client: [client.submit(path, body)["task_id"]]


def all_of(*checks: Check) -> Check:
    """All checks, up to the first that finds differences: the later ones build on the earlier ones."""

    def check(client: Client, records: Sequence[Record]) -> list[str]:
        for part in checks:
            lines = part(client, records)
            if lines:
                return lines
        return []

    return check


def succeeded(outcomes: list[str] | None = None) -> Check:
    """Whether all tasks have succeeded, after attempts of these outcomes."""
    return ended("succeeded", outcomes=outcomes)


def ended(status: str, *, reason: str | None = None, outcomes: list[str] | None = None) -> Check:
    """Whether all tasks have ended so."""

    def check(client: Client, records: Sequence[Record]) -> list[str]:
        lines = []
        for record in records:
            if record["status"] != status:
                lines.append(f"{record['status']} ({record.get('reason')}), expected {status}")
            elif reason is not None and reason not in (record.get("reason") or ""):
                lines.append(f"reason {record.get('reason')!r}, expected {reason!r} in it")
            found = [attempt["outcome"] for attempt in record.get("attempts", [])]
            if outcomes is not None and _counted(found) != outcomes:
                lines.append(f"attempts {found}, expected {outcomes}")
        return lines

    return check


def result(wanted: Mapping[str, Any]) -> Check:
    """Whether all results hold these values."""

    def check(client: Client, records: Sequence[Record]) -> list[str]:
        return [line for record in records for line in compare.differences(client.result(record["task_id"]), wanted)]

    return check


def content(name: str, unpack: Callable[[bytes], Any], wanted: Any) -> Check:
    """Whether an object holds, unpacked, what is wanted."""

    def check(client: Client, records: Sequence[Record]) -> list[str]:
        found = unpack(client.download(name))
        return [] if found == wanted else [f"{name}: {_short(found)} is not the {_short(wanted)} expected"]

    return check


def _counted(outcomes: list[str]) -> list[str]:
    """Without attempts that the restart of the worker cut short: those are no failures of the handler."""
    return [outcome for outcome in outcomes if outcome != "stopped"]


def _short(value: Any) -> str:
    return f"{repr(value)[:60]}… (of {len(value)})" if len(repr(value)) > 60 else repr(value)
