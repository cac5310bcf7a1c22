"""The clock, and faults on demand."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from poolhouse_pubsub.control.faults import KINDS, Fault, Kind
from poolhouse_pubsub.http import HttpResponse
from poolhouse_pubsub.status import Code, invalid, server_stops
from poolhouse_pubsub.transport.admin import read_fault
from poolhouse_pubsub.ui.calls import Form, go_to
from poolhouse_pubsub.ui.console import Console
from poolhouse_pubsub.ui.layout import amount, moment, page, span
from poolhouse_pubsub.ui.markup import Html, html, options, table

DOES: Mapping[Kind, str] = {
    "error": "RPCs fail with a code",
    "duplicate": "a delivered message is delivered once more",
    "reorder": "the messages of a response change places",
    "delay": "a message can be delivered only some seconds later",
    "drop_ack": "an ack is answered and forgotten",
    "lose_publish_answer": "a publish succeeds, its answer is an error",
    "latency": "RPCs take some seconds longer",
    "reset_stream": "a stream ends after it delivered something",
}
CODES = ("UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "INTERNAL", "ABORTED")
_STEPS = (("10", "10 s"), ("60", "1 min"), ("600", "10 min"), ("3600", "1 h"), ("86400", "1 d"))
_BODY = """
<div class="title"><h1>Clock and faults</h1></div>
<section class="card" aria-labelledby="clock"><h2 id="clock">Clock</h2>
<p class="big" data-live="now">{now}</p>
<p class="muted">{pace} Leases, backoffs and retention that end on the way do so at
once; it never goes back.</p>
<form method="post" action="/ui/faults/advance" class="inline">{steps}</form>
<form method="post" action="/ui/faults/advance" class="inline">
<label>Seconds <input name="seconds" inputmode="decimal" required></label><button>Advance</button></form></section>
<section aria-labelledby="faults"><div class="title"><h2 id="faults">Faults</h2>{clear}</div>
<div data-live="faults">{faults}</div>
<details class="more"{open}><summary>Set a fault…</summary><form method="post" action="/ui/faults" class="grid">
<label>Kind <select name="kind">{kinds}</select></label>
<label>Subscription <select name="subscription"><option value="">all</option>{subscriptions}</select></label>
<label>Probability, in percent <input name="percent" inputmode="decimal" value="{percent}"></label>
<label>At most so often <input name="count" inputmode="numeric" value="{count}" placeholder="no limit"></label>
<label>Seconds <input name="seconds" inputmode="decimal" value="{seconds}" placeholder="of a latency or delay"></label>
<label>Code <select name="code">{codes}</select></label>
<label>RPCs <input name="methods" value="{methods}" placeholder="all; such as Publish, Pull" autocomplete="off"></label>
<button class="solid">Set it</button></form></details></section>
<section class="card" aria-labelledby="restart"><h2 id="restart">Restart</h2>
<p class="muted">What clients see of a restart: streams end, leases are lost, messages stay.</p>
<form method="post" action="/ui/faults/restart"><button>Break connections off</button></form></section>
"""
_CLEAR = '<form method="post" action="/ui/faults/clear"><button>Clear all</button></form>'
_ROW = """<tr><th scope="row">{kind}</th><td>{does}</td><td>{where}</td><td class="n">{percent} %</td>
<td class="n">{happened}</td></tr>"""


def show(console: Console, *, notice: str, error: str, form: Form) -> HttpResponse:
    """Return the page."""
    emulator = console.service.emulator
    faults = console.service.faults.all()
    now = emulator.clock.now()
    body = html(
        _BODY,
        now=moment(now),
        pace=_pace(now - time.time(), manual=emulator.clock.manual),
        steps=(
            html('<button name="seconds" value="{value}">+ {text}</button>', value=value, text=text)
            for value, text in _STEPS
        ),
        clear=Html(_CLEAR) if faults else None,
        faults=table(
            ("Kind", "What happens", "Where", "#Probability", "#Happened"), map(_row, faults), empty="None is set."
        ),
        open=Html(" open") if error else None,
        kinds=options(((kind, f"{kind}: {DOES[kind]}") for kind in KINDS), chosen=form.get("kind", "")),
        subscriptions=options(
            ((name, name) for name in sorted(emulator.subscriptions)[:1_000]), chosen=form.get("subscription", "")
        ),
        percent=form.get("percent", "100"),
        count=form.get("count", ""),
        seconds=form.get("seconds", ""),
        codes=options(((code, code) for code in CODES), chosen=form.get("code", "")),
        methods=form.get("methods", ""),
    )
    return page("Clock and faults", body, here="/ui/faults", notice=notice, error=error)


async def add(console: Console, form: Form) -> HttpResponse:
    """Set a fault."""
    fault: dict[str, Any] = {
        "kind": form.text("kind"),
        "probability": form.number("percent", default=100) / 100,
        "seconds": form.number("seconds", default=0),
        "subscription": form.text("subscription"),
        "code": form.text("code") or CODES[0],
        "methods": form.text("methods").replace(",", " ").split(),
    }
    if form.text("count"):
        fault["count"] = form.whole("count", default=1, most=1_000_000_000)
    console.service.faults.add(read_fault(fault))
    return go_to("/ui/faults", done="fault")


async def clear(console: Console, form: Form) -> HttpResponse:
    """Take all faults away."""
    console.service.faults.clear()
    return go_to("/ui/faults", done="cleared")


async def advance(console: Console, form: Form) -> HttpResponse:
    """Move the clock."""
    try:
        console.service.emulator.advance(form.number("seconds", default=0))
    except (ValueError, OverflowError) as error:
        raise invalid(f"The clock can't do that: {error}.") from None
    return go_to("/ui/faults", done="advanced")


async def restart(console: Console, form: Form) -> HttpResponse:
    """End streams and leases."""
    console.restart.now(server_stops())
    return go_to("/ui/faults", done="restarted")


#: By the last part of their path.
ACTIONS: Mapping[str, Callable[[Console, Form], Awaitable[HttpResponse]]] = {
    "advance": advance,
    "clear": clear,
    "restart": restart,
}


def _pace(ahead_s: float, *, manual: bool) -> str:
    if manual:
        return "It stands still and moves by hand."
    return f"{span(ahead_s)} ahead of this machine." if ahead_s >= 1 else "It runs with this machine’s."


def _row(fault: Fault) -> Html:
    does = DOES[fault.kind]
    if fault.seconds:
        does += f", {span(fault.seconds)}"
    if fault.kind in ("error", "reset_stream"):
        does += f", {Code(fault.code).name}"
    return html(
        _ROW,
        kind=fault.kind,
        does=does,
        where=" ".join(filter(None, (fault.subscription or "everywhere", ", ".join(fault.methods)))),
        percent=f"{100 * fault.probability:g}",
        happened=amount(fault.happened) + (f" of {amount(fault.count)}" if fault.count is not None else ""),
    )
