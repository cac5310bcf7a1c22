"""The Pub/Sub emulator of a local stack: where messages are, its clock, its faults; elsewhere why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from poolhouse.client import units
from poolhouse.client.answers import Document
from poolhouse.local.console import forms, rendering
from poolhouse.local.console.emulator import Emulator, NoEmulator
from poolhouse.pipeline.errors import ConfigError

_EVERY_S = 2.0
#: What the clock is moved by with one click.
_STEPS = ("10s", "1m", "10m", "1h", "1d")
#: Seconds that a clock which was not moved may differ by: those of the call.
_EVEN_S = 1.0


@dataclass(frozen=True, kw_only=True)
class SubscriptionView:
    """A subscription, and the pages of the emulator's own that show its messages and publish to it."""

    name: str
    messages_url: str
    topic: str
    #: Empty where the topic is deleted.
    publish_url: str
    counts: Document


def show(request: Request) -> Response:
    """The page."""
    stack = rendering.of(request).stack
    try:
        emulator = stack.emulator()
    except NoEmulator as error:
        return rendering.page(request, "no_emulator.html", text=str(error))
    backend = stack.backend()
    now = emulator.now()
    ahead_s = (now - datetime.now(UTC)).total_seconds()
    return rendering.page(
        request,
        "emulator.html",
        every_s=_EVERY_S,
        subscriptions=[_view(emulator, counts) for counts in emulator.subscriptions()],
        now=now.isoformat(),
        ahead_s=ahead_s if ahead_s > _EVEN_S else None,
        moves_all=backend is not None and backend.clock_moves_all,
        steps=_STEPS,
        faults=emulator.faults(),
        faults_url=emulator.page("faults"),
        own_url=emulator.page(),
    )


def advance(request: Request, form: FormData) -> Response:
    """Move the clock."""
    try:
        step = units.duration(forms.text(form, "by"), option="By")
    except ConfigError as error:
        return rendering.go_to(request, "/emulator", note=str(error), complete=False)
    rendering.of(request).stack.emulator().advance(step.total_seconds())
    return rendering.go_to(request, "/emulator", note=f"The clock is {units.span(step.total_seconds())} further.")


def clear_faults(request: Request, form: FormData) -> Response:
    """Take all faults away."""
    rendering.of(request).stack.emulator().clear_faults()
    return rendering.go_to(request, "/emulator", note="All faults are cleared.")


def _view(emulator: Emulator, counts: Document) -> SubscriptionView:
    _, project, _, name = counts["subscription"].split("/", 3)
    topic = counts["topic"]
    publish_url = ""
    if topic.startswith("projects/"):
        _, its_project, _, topic = topic.split("/", 3)
        publish_url = emulator.page("topics", its_project, topic)
    return SubscriptionView(
        name=name,
        messages_url=emulator.page("subscriptions", project, name),
        topic=topic,
        publish_url=publish_url,
        counts=counts,
    )


routes = [
    Route("/emulator", show),
    Route("/emulator/clock", forms.posted(advance), methods=["POST"]),
    Route("/emulator/faults/clear", forms.posted(clear_faults), methods=["POST"]),
]
