"""The Pub/Sub emulator's clock and faults, where it is ours."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime
from typing import Any

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from poolhouse.local.console import forms, rendering
from poolhouse.local.console.emulator import Emulator
from poolhouse.local.errors import StackError

_EVERY_S = 2.0
#: The kinds of faults and what each does, in the order of docs/emulator.md.
KINDS = {
    "error": "RPCs fail with a code",
    "latency": "RPCs take some seconds longer",
    "duplicate": "a delivered message is delivered once more",
    "reorder": "the messages of a response change places",
    "delay": "a message can be delivered only some seconds later",
    "drop_ack": "an ack is answered and forgotten",
    "lose_publish_answer": "a publish succeeds, its answer is an error",
    "reset_stream": "a stream ends after it delivered something",
}
CODES = ("UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "INTERNAL", "ABORTED")
_STEPS = ((10, "10 s"), (60, "1 min"), (600, "10 min"), (3600, "1 h"), (86_400, "1 d"))


def show(request: Request) -> Response:
    """Clock and faults, and what may be done with them."""
    emulator = _emulator(request)
    clock = emulator.clock()
    return rendering.page(
        request,
        "emulator.html",
        every_s=_EVERY_S,
        now=datetime.fromtimestamp(clock["now"], UTC).isoformat(),
        ahead_s=max(0.0, clock["now"] - time.time()),
        manual=clock["manual"],
        faults=emulator.faults(),
        kinds=KINDS,
        codes=CODES,
        steps=_STEPS,
        subscriptions=emulator.subscriptions(),
    )


def advance(request: Request, form: FormData) -> Response:
    """Move its time forward."""
    seconds = _number(form, "seconds", default=0.0)
    _emulator(request).advance(seconds)
    return rendering.go_to(request, "/emulator", note=f"The emulator's time is {seconds:g} s further.")


def add_fault(request: Request, form: FormData) -> Response:
    """Set a fault."""
    fault: dict[str, Any] = {
        "kind": forms.text(form, "kind"),
        "probability": _number(form, "percent", default=100.0) / 100,
        "seconds": _number(form, "seconds", default=0.0),
        "subscription": forms.text(form, "subscription"),
        "code": forms.text(form, "code") or CODES[0],
        "methods": forms.text(form, "methods").replace(",", " ").split(),
    }
    if forms.text(form, "count"):
        fault["count"] = int(_number(form, "count", default=0.0))
    _emulator(request).add_fault(fault)
    return rendering.go_to(request, "/emulator", note=f"The fault {fault['kind']} is set.")


def clear_faults(request: Request, form: FormData) -> Response:
    """Take all faults away."""
    _emulator(request).clear_faults()
    return rendering.go_to(request, "/emulator", note="No fault is set any more.")


def restart(request: Request, form: FormData) -> Response:
    """End its streams and leases."""
    _emulator(request).restart()
    return rendering.go_to(request, "/emulator", note="Streams ended, leases were lost, messages stayed.")


def _emulator(request: Request) -> Emulator:
    found = rendering.of(request).stack.emulator()
    if found is None:
        raise HTTPException(404)
    return found


def _number(form: FormData, name: str, *, default: float) -> float:
    text = forms.text(form, name).strip()
    if not text:
        return default
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise StackError(f"{name} must be a number, not {text[:100]!r}")
    return number


routes = [
    Route("/emulator", show),
    Route("/emulator/advance", forms.posted(advance), methods=["POST"]),
    Route("/emulator/faults", forms.posted(add_fault), methods=["POST"]),
    Route("/emulator/faults/clear", forms.posted(clear_faults), methods=["POST"]),
    Route("/emulator/restart", forms.posted(restart), methods=["POST"]),
]
