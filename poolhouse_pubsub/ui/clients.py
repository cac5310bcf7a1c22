"""Who calls the emulator."""

from __future__ import annotations

from poolhouse_pubsub.control.clients import Client
from poolhouse_pubsub.http import HttpResponse
from poolhouse_pubsub.ui.console import Console
from poolhouse_pubsub.ui.layout import amount, moment, page, span
from poolhouse_pubsub.ui.markup import Html, html, table

_BODY = """
<div class="title"><h1>Clients</h1></div>
<p class="muted">Calls since this console was first opened, told apart by the headers of their libraries. Hedged
publishes repeat one that was not answered soon enough; clients report them in
<code>x-goog-pubsub-client-telemetry</code>.</p>
<div data-live="clients">{clients}</div>
"""
_ROW = """<tr><th scope="row"><span class="mono small">{library}</span><br><span class="muted small">{agent}</span></th>
<td>{calls}</td><td>{seen}</td><td>{telemetry}</td></tr>"""


def show(console: Console) -> HttpResponse:
    """Return the page."""
    rows = (_row(client) for client in console.clients.all())
    clients = table(("Client", "Calls", "Last call", "Telemetry"), rows, empty="No calls since then.")
    return page("Clients", html(_BODY, clients=clients), here="/ui/clients")


def _row(client: Client) -> Html:
    return html(
        _ROW,
        library=client.library or "no x-goog-api-client",
        agent=client.user_agent,
        calls=", ".join(f"{method} {amount(count)}" for method, count in client.calls.most_common()),
        seen=moment(client.last_seen),
        telemetry=_telemetry(client),
    )


def _telemetry(client: Client) -> Html | str:
    if client.telemetry_error:
        return html('<span class="bad">{error}</span>', error=client.telemetry_error)
    if not client.publishes_with_telemetry:
        return ""
    text = f"{amount(client.publishes_with_telemetry)} publishes, {amount(client.hedged)} of them hedged"
    if client.hedged:
        text += f", the latest as attempt {client.last_hedge}"
    if client.last_delay_s is not None:
        when = "after" if client.last_delay_s >= 0 else "before"
        text += f"; the latest came {span(abs(client.last_delay_s))} {when} its start"
    return text
