"""Messages of a subscription, seen without being taken."""

from __future__ import annotations

import urllib.parse
from typing import get_args

from poolhouse_pubsub import numbers
from poolhouse_pubsub.control.inspection import MessageState, MessageView, SubscriptionView, find
from poolhouse_pubsub.core import dead_letter
from poolhouse_pubsub.status import StatusError
from poolhouse_pubsub.ui.console import Console
from poolhouse_pubsub.ui.layout import link, moment, path_of, span
from poolhouse_pubsub.ui.markup import Html, html, join

STATES: tuple[MessageState, ...] = get_args(MessageState)
#: States that people know by another name.
STATE_NAMES = {"outstanding": "leased"}
#: Most characters of one message's data on a page.
_MOST_CHARACTERS = 20_000
_PREVIEW_CHARACTERS = 120

_MESSAGE = """
<details class="message" id="m{id}"><summary><span class="mono">{id}</span> <span class="badge {state}">{state}</span>
<span class="preview mono">{preview}</span></summary>
<dl class="facts"><div><dt>Published</dt><dd>{published}</dd></div><div><dt>Attempt</dt><dd>{attempt}</dd></div>
<div><dt>{due_title}</dt><dd>{due}</dd></div><div><dt>Ordering key</dt><dd>{key}</dd></div></dl>
{attributes}<pre>
{data}</pre>
<div class="actions">{actions}{again}</div></details>
"""
_LEASED = """<form method="post" action="{path}/ack"><input type="hidden" name="ack_id" value="{ack_id}">
<button>Acknowledge</button></form>
<form method="post" action="{path}/nack"><input type="hidden" name="ack_id" value="{ack_id}">
<button>Give back</button></form>"""


def message_list(console: Console, view: SubscriptionView, *, now: float) -> Html:
    """Return the messages of a view."""
    if not view.messages:
        return html('<p class="empty">No messages.</p>')
    return join(_message(console, view, message, now) for message in view.messages)


def text_of(data: bytes) -> str | None:
    """Return data as text; None where it is none that can be shown, and typed again."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return text if all(character.isprintable() or character in "\n\t" for character in text) else None


def find_message(console: Console, subscription: str, id: str) -> MessageView | None:
    """Return an unacked message by its id; None where it is not there any more."""
    number = numbers.digits(id)
    if number is None:
        return None
    try:
        return find(console.service.emulator, subscription, number)
    except StatusError:
        return None


def _message(console: Console, view: SubscriptionView, message: MessageView, now: float) -> Html:
    text = text_of(message.data)
    shown = message.data[:_MOST_CHARACTERS].hex(" ") if text is None else text
    preview = f"{len(message.data)} bytes" if text is None else text
    leased = message.state == "outstanding"
    return html(
        _MESSAGE,
        id=message.message_id,
        state=STATE_NAMES.get(message.state, message.state),
        preview=" ".join(preview[:_PREVIEW_CHARACTERS].split()),
        published=moment(message.publish_time),
        attempt=message.delivery_attempt,
        due_title="Lease ends in" if leased else "Delivered from",
        due=span(max(0.0, message.next_delivery_at - now)) if message.next_delivery_at > now else "now",
        key=message.ordering_key or "none",
        attributes=_attributes(message),
        data=_cut(shown),
        actions=html(_LEASED, path=path_of(view.subscription), ack_id=message.ack_id) if leased else None,
        again=_again(console, view, message),
    )


def _attributes(message: MessageView) -> Html | None:
    if not message.attributes:
        return None
    return html(
        '<table class="attributes"><tbody>{rows}</tbody></table>',
        rows=(
            html('<tr><th scope="row" class="mono">{key}</th><td class="mono">{value}</td></tr>', key=key, value=value)
            for key, value in sorted(message.attributes.items())
        ),
    )


def _again(console: Console, view: SubscriptionView, message: MessageView) -> Html | None:
    """Return a link to the form that publishes a message again: of a dead letter, to where it came from."""
    emulator = console.service.emulator
    topic = view.topic
    source = emulator.subscriptions.get(dead_letter.source_of(message.attributes))
    if source is not None and source.topic is not None:
        topic = source.topic.name
    if topic not in emulator.topics:
        return None
    query = urllib.parse.urlencode({"from": view.subscription, "id": message.message_id})
    return html(
        '<a class="button" href="{path}?{query}#publish">Publish again…</a> <span class="small">to {topic}</span>',
        path=path_of(topic),
        query=query,
        topic=link(topic),
    )


def _cut(text: str) -> str:
    left = len(text) - _MOST_CHARACTERS
    return text if left <= 0 else f"{text[:_MOST_CHARACTERS]}\n… and {left} more characters"
