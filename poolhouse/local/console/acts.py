"""What a form asks for and what came of it, as far as a log may have it: ids and names, never what a task carries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

#: Fields that say what is acted on. Others hold payloads, or texts that may quote them.
_NAMING = ("id", "task_type", "queue", "status", "delay", "folder")
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
    return {
        name: values if len(values) <= _MOST else [*values[:_MOST], f"and {len(values) - _MOST} more"]
        for name, values in found.items()
    }
