"""What a form asks for and what came of it, as far as a log may have it: ids and names, never what a task carries."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

#: Fields that say what is acted on. Others hold payloads, or texts that may quote them.
_NAMING = ("id", "task_type", "queue", "status", "delay", "folder")
#: Characters of one name that are kept. The names of one field have to fit into the bytes, so that no form makes the
#: line longer than an entry of Cloud Logging can be, 256 KiB (Cloud Logging, Quotas and limits).
MOST_CHARACTERS, _MOST_BYTES = 500, 20_000
#: Values of one field that are kept.
_MOST = 100
_ACT = "poolhouse.act"


@dataclass
class Act:
    """One call that changes something, filled in while it is answered."""

    on: Mapping[str, list[str]] = field(default_factory=dict)
    #: Whether all that was asked for was done.
    complete: bool = True

    def outcome(self, status: int) -> str:
        """Return what came of it, in a word, by the status that answers it."""
        if status < 400:
            return "done" if self.complete else "incomplete"
        return "refused" if status < 500 else "failed"


def begin(request: Request) -> Act:
    """Return the act of a request, to be filled in by what answers it."""
    act = Act()
    request.scope[_ACT] = act
    return act


def note_form(request: Request, form: FormData) -> None:
    """Keep what a form names."""
    act = request.scope.get(_ACT)
    if act is not None:
        act.on = _named(form)


def note_incomplete(request: Request) -> None:
    """Keep that not all was done."""
    act = request.scope.get(_ACT)
    if act is not None:
        act.complete = False


def _named(form: FormData) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if value.filename:
                found.setdefault("file", []).append(value.filename)
        elif name in _NAMING and value:
            found.setdefault(name, []).append(value)
    return {name: _kept(values) for name, values in found.items()}


def _kept(values: Sequence[str]) -> list[str]:
    kept: list[str] = []
    left = _MOST_BYTES
    for value in values[:_MOST]:
        short = value if len(value) <= MOST_CHARACTERS else f"{value[:MOST_CHARACTERS]}…"
        left -= len(json.dumps(short))
        if left < 0:
            break
        kept.append(short)
    return kept if len(kept) == len(values) else [*kept, f"and {len(values) - len(kept)} more"]
