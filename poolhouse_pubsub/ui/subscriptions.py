"""One subscription: what waits and what is leased, and what may be done to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from poolhouse_pubsub.control.inspection import MessageState, inspect
from poolhouse_pubsub.core.emulator import timestamp
from poolhouse_pubsub.http import HttpRequest, HttpResponse
from poolhouse_pubsub.status import invalid
from poolhouse_pubsub.ui.calls import Form, go_to, run
from poolhouse_pubsub.ui.console import Console
from poolhouse_pubsub.ui.layout import amount, config_text, link, page, path_of, span
from poolhouse_pubsub.ui.markup import Html, html, options
from poolhouse_pubsub.ui.messages import STATE_NAMES, STATES, message_list
from poolhouse_pubsub.ui.overview import kind_of, rate_and_count

_LIMITS = (20, 100, 500)
#: Most messages that one form pulls (Quotas and limits: of a Pull).
_MOST_PULLED = 1_000
_BODY = """
<p class="crumb"><a href="/ui">Overview</a></p>
<div class="title"><h1>{id} <span class="muted">{project}</span></h1><span class="badge">{kind}</span></div>
<dl class="facts" data-live="facts"><div><dt>Topic</dt><dd>{topic}</dd></div><div><dt>Ready</dt><dd>{ready}</dd></div>
<div><dt>Leased</dt><dd>{leased}</dd></div><div><dt>Delayed</dt><dd>{delayed}</dd></div>
<div><dt>Kept for a seek</dt><dd>{retained}</dd></div><div><dt>Oldest</dt><dd>{age}</dd></div>
<div><dt>Consumers</dt><dd>{consumers}</dd></div><div><dt>Finished</dt><dd>{finished}</dd></div>
<div><dt>Dead-lettered</dt><dd>{dead}</dd></div></dl>
<div data-live="error">{delivery_error}</div>
<section aria-labelledby="messages"><div class="title"><h2 id="messages">Messages</h2>
<form method="get" action="{path}" class="inline"><label>State <select name="state">
<option value="">all</option>{states}</select></label>
<label>First <select name="messages">{limits}</select></label><button>Show</button></form></div>
<p class="muted small">Looking takes nothing: the messages stay where they are.</p>
<div data-live="messages">{messages}</div>
<form method="post" action="{path}/pull" class="inline">
<label>Pull <input name="count" type="number" min="1" max="{most}" value="1"></label>
<button>Pull and lease</button></form></section>
<section aria-labelledby="seek" class="card"><h2 id="seek">Seek</h2>
<form method="post" action="{path}/seek" class="inline">
<label>To a time, UTC <input name="time" type="datetime-local" step="1" required value="{now}"></label>
<button>Seek</button></form>
{to_snapshot}
<form method="post" action="{path}/snapshot" class="inline">
<label>New snapshot <input name="snapshot" placeholder="a name of the server’s" autocomplete="off"></label>
<button>Take it</button></form>
<details><summary class="danger">Purge…</summary><form method="post" action="{path}/purge" class="confirm">
<p>All messages count as acknowledged, leased ones too.</p><button class="danger">Purge {id}</button></form></details>
</section>
<section><details><summary>Configuration</summary><pre>
{config}</pre></details>
<details><summary class="danger">Detach…</summary><form method="post" action="{path}/detach" class="confirm">
<p>It loses its messages and gets no more; its name stays.</p><button class="danger">Detach {id}</button></form>
</details>
<details><summary class="danger">Delete the subscription…</summary>
<form method="post" action="{path}/delete" class="confirm">
<p>Its messages are lost.</p><button class="danger">Delete {id}</button></form></details></section>
"""
_TO_SNAPSHOT = """<form method="post" action="{path}/seek" class="inline">
<label>To a snapshot <select name="snapshot" required>{snapshots}</select></label><button>Seek</button></form>"""


def show(console: Console, name: str, request: HttpRequest, *, notice: str, error: str) -> HttpResponse:
    """Return the page."""
    emulator = console.service.emulator
    limit = _limit(request)
    state = _state(request)
    view = inspect(emulator, name, messages=limit, state=state)
    _, project, _, id = name.split("/", 3)
    now = emulator.clock.now()
    topic = emulator.subscriptions[name].topic
    body = html(
        _BODY,
        id=id,
        project=project,
        path=path_of(name),
        kind=kind_of(emulator.subscriptions[name].config),
        topic=link(view.topic),
        ready=amount(view.undelivered),
        leased=amount(view.outstanding),
        delayed=amount(view.delayed),
        retained=amount(view.retained),
        age=span(view.oldest_unacked_age_s) if view.unacked else "",
        consumers=amount(view.consumers),
        finished=rate_and_count(console, name, view.finished),
        dead=amount(view.dead_lettered),
        delivery_error=_delivery_error(view.delivery_error),
        states=options(((one, STATE_NAMES.get(one, one)) for one in STATES), chosen=state or ""),
        limits=options(((str(one), str(one)) for one in _LIMITS), chosen=str(limit)),
        messages=message_list(console, view, now=now),
        most=_MOST_PULLED,
        now=f"{datetime.fromtimestamp(now, UTC):%Y-%m-%dT%H:%M:%S}",
        to_snapshot=_to_snapshot(name, sorted(topic.snapshots)) if topic is not None else None,
        config=config_text(emulator.subscriptions[name].config),
    )
    return page(id, body, here="/ui", notice=notice, error=error)


async def pull(console: Console, name: str, form: Form) -> HttpResponse:
    """Lease messages to nobody but the reader."""
    count = form.whole("count", default=1, most=_MOST_PULLED)
    answer = await run(
        console.service, "Subscriber/Pull", subscription=name, max_messages=count, return_immediately=True
    )
    return go_to(path_of(name), done="pulled" if answer.received_messages else "pulled-nothing")


async def acknowledge(console: Console, name: str, form: Form) -> HttpResponse:
    """Acknowledge a leased message."""
    await run(console.service, "Subscriber/Acknowledge", subscription=name, ack_ids=[form.get("ack_id", "")])
    return go_to(path_of(name), done="acknowledged")


async def give_back(console: Console, name: str, form: Form) -> HttpResponse:
    """Nack a leased message."""
    await run(
        console.service,
        "Subscriber/ModifyAckDeadline",
        subscription=name,
        ack_ids=[form.get("ack_id", "")],
        ack_deadline_seconds=0,
    )
    return go_to(path_of(name), done="nacked")


async def seek(console: Console, name: str, form: Form) -> HttpResponse:
    """Seek to a time or a snapshot."""
    if form.text("snapshot"):
        target: dict[str, Any] = {"snapshot": form.text("snapshot")}
    else:
        try:
            moment = datetime.fromisoformat(form.text("time")).replace(tzinfo=UTC)
        except ValueError:
            raise invalid(
                f"Invalid time: {form.text('time')[:100]!r} is not of the form 2026-01-31T12:00:00."
            ) from None
        target = {"time": timestamp(moment.timestamp())}
    await run(console.service, "Subscriber/Seek", subscription=name, **target)
    return go_to(path_of(name), done="sought")


async def purge(console: Console, name: str, form: Form) -> HttpResponse:
    """Seek past every message."""
    # Publish times never lie after the clock, but at its very microsecond.
    after = timestamp(console.service.emulator.clock.now() + 1)
    await run(console.service, "Subscriber/Seek", subscription=name, time=after)
    return go_to(path_of(name), done="sought")


async def snapshot(console: Console, name: str, form: Form) -> HttpResponse:
    """Take a snapshot, in the project of the subscription."""
    _, project, _, _ = name.split("/", 3)
    id = form.text("snapshot")
    await run(
        console.service,
        "Subscriber/CreateSnapshot",
        subscription=name,
        name=f"projects/{project}/snapshots/{id}" if id else "",
    )
    return go_to(path_of(name), done="created")


async def detach(console: Console, name: str, form: Form) -> HttpResponse:
    """Detach the subscription."""
    await run(console.service, "Publisher/DetachSubscription", subscription=name)
    return go_to(path_of(name), done="detached")


async def delete(console: Console, name: str, form: Form) -> HttpResponse:
    """Delete the subscription."""
    await run(console.service, "Subscriber/DeleteSubscription", subscription=name)
    return go_to("/ui", done="deleted")


#: By the last part of their path.
ACTIONS: Mapping[str, Callable[[Console, str, Form], Awaitable[HttpResponse]]] = {
    "pull": pull,
    "ack": acknowledge,
    "nack": give_back,
    "seek": seek,
    "purge": purge,
    "snapshot": snapshot,
    "detach": detach,
    "delete": delete,
}


def _limit(request: HttpRequest) -> int:
    text = request.query.get("messages", "")
    return int(text) if text in map(str, _LIMITS) else _LIMITS[0]


def _state(request: HttpRequest) -> MessageState | None:
    return next((state for state in STATES if state == request.query.get("state")), None)


def _to_snapshot(name: str, snapshots: Sequence[str]) -> Html | None:
    if not snapshots:
        return None
    return html(_TO_SNAPSHOT, path=path_of(name), snapshots=options((one, one) for one in snapshots))


def _delivery_error(text: str) -> Html | None:
    return (
        html('<p class="note bad">The latest message could not be delivered: {text}</p>', text=text) if text else None
    )
