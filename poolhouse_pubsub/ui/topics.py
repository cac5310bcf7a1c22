"""One topic: its subscriptions, and messages published by hand."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from poolhouse_pubsub.core import dead_letter
from poolhouse_pubsub.core.topic import Topic
from poolhouse_pubsub.http import HttpRequest, HttpResponse
from poolhouse_pubsub.schemas import ParsedSchema, SchemaError
from poolhouse_pubsub.status import StatusError, invalid, not_found
from poolhouse_pubsub.ui import schema_help
from poolhouse_pubsub.ui.calls import Form, attribute_lines, go_to, run
from poolhouse_pubsub.ui.console import Console
from poolhouse_pubsub.ui.layout import amount, config_text, link, page, path_of, rate
from poolhouse_pubsub.ui.markup import Html, html, options, table
from poolhouse_pubsub.ui.messages import find_message, text_of
from poolhouse_pubsub.ui.overview import subscription_table

#: Most copies of a message that are published at once.
_MOST_COPIES = 1_000
_BINARY = 2
_BODY = """
<p class="crumb"><a href="/ui">Overview</a></p>
<div class="title"><h1>{id} <span class="muted">{project}</span></h1></div>
<dl class="facts" data-live="facts"><div><dt>Published</dt><dd>{published}</dd></div><div><dt>Rate</dt><dd>{rate}</dd>
</div>
<div><dt>Schema</dt><dd>{schema}</dd></div></dl>
<section aria-labelledby="publish" class="card"><h2 id="publish">Publish</h2>
<form method="post" action="{path}/publish" class="stack">
<label>Data <textarea name="data" rows="8" class="mono" spellcheck="false">
{data}</textarea></label>
<div class="grid"><label>Data is <select name="form">{forms}</select></label>
<label>Ordering key <input name="ordering_key" value="{key}" autocomplete="off"></label>
<label>Copies <input name="copies" type="number" min="1" max="{most}" value="{copies}"></label></div>
<label>Attributes, one <code>key=value</code> a line
<textarea name="attributes" rows="3" class="mono" spellcheck="false">
{attributes}</textarea></label>
<div><button class="solid">Publish</button></div></form>{help}</section>
<section aria-labelledby="subscriptions"><h2 id="subscriptions">Subscriptions</h2>
<div data-live="subscriptions">{subscriptions}</div>
<details class="more"{refused}><summary>Create a subscription…</summary>
<form method="post" action="{path}/subscribe" class="grid">
<label>Subscription
<input name="subscription" required value="{subscription}" placeholder="orders-worker" autocomplete="off"></label>
<label>Ack deadline, in seconds
<input name="ack_deadline_s" type="number" min="10" max="600" value="{ack_deadline_s}"></label>
<label>Filter
<input name="filter" value="{filter}" placeholder='attributes.kind = "new"' autocomplete="off"></label>
<label>Push endpoint
<input name="push_endpoint" type="url" value="{push_endpoint}" placeholder="none: it is pulled"></label>
<label>Dead letters to <select name="dead_letter_topic"><option value="">nowhere</option>{topics}</select></label>
<label>after attempts <input name="attempts" type="number" min="5" max="100" value="{attempts}"></label>
<label class="check"><input type="checkbox" name="ordered"{ordered}> in order of keys</label>
<label class="check"><input type="checkbox" name="exactly_once"{exactly_once}> exactly once</label>
<label class="check"><input type="checkbox" name="retain"{retain}> keep acknowledged messages</label>
<button class="solid">Create</button></form></details></section>
<section><details><summary>Configuration</summary><pre>
{config}</pre></details>
<details><summary class="danger">Delete the topic…</summary>
<form method="post" action="{path}/delete" class="confirm">
<p>Its subscriptions stay, with their messages and without a topic.</p>
<button class="danger">Delete {id}</button></form></details></section>
"""
_HELP = """<details open class="help"><summary>What the schema wants</summary>
<p>{encoding} messages of {schema}. The data above begins as an example.</p>{fields}</details>"""


def show(console: Console, name: str, request: HttpRequest, *, notice: str, error: str, form: Form) -> HttpResponse:
    """Return the page."""
    topic = _topic(console, name)
    _, project, _, id = name.split("/", 3)
    schema = _schema(console, topic)
    wanted = form if "subscription" in form else Form()
    filled = (form if not wanted else None) or _copied(console, request) or _begun(topic, schema)
    body = html(
        _BODY,
        id=id,
        project=project,
        path=path_of(name),
        published=amount(topic.published_count),
        rate=rate(console.rates.of(name, topic.published_count)),
        schema=_schema_link(console, topic),
        data=filled.get("data", ""),
        forms=options(_forms(topic, schema), chosen=filled.get("form", "")),
        key=filled.get("ordering_key", ""),
        copies=filled.get("copies", "1"),
        most=_MOST_COPIES,
        attributes=filled.get("attributes", ""),
        help=_help(console, topic, schema) if schema is not None else None,
        subscriptions=subscription_table(console, sorted(topic.subscriptions)[:200]),
        refused=_flag("open", bool(wanted)),
        subscription=wanted.get("subscription", ""),
        ack_deadline_s=wanted.get("ack_deadline_s", "10"),
        filter=wanted.get("filter", ""),
        push_endpoint=wanted.get("push_endpoint", ""),
        topics=options(
            ((other, other) for other in sorted(console.service.emulator.topics)[:1_000]),
            chosen=wanted.get("dead_letter_topic", ""),
        ),
        attempts=wanted.get("attempts", "5"),
        ordered=_flag("checked", "ordered" in wanted),
        exactly_once=_flag("checked", "exactly_once" in wanted),
        retain=_flag("checked", "retain" in wanted),
        config=config_text(topic.config),
    )
    return page(id, body, here="/ui", notice=notice, error=error)


async def publish(console: Console, name: str, form: Form) -> HttpResponse:
    """Publish what the form has."""
    topic = _topic(console, name)
    message = {
        "data": _data(form, _schema(console, topic)),
        "attributes": form.attributes("attributes"),
        "ordering_key": form.get("ordering_key", ""),
    }
    copies = form.whole("copies", default=1, most=_MOST_COPIES)
    await run(console.service, "Publisher/Publish", topic=name, messages=[message] * copies)
    return go_to(path_of(name), done="published")


async def subscribe(console: Console, name: str, form: Form) -> HttpResponse:
    """Create a subscription of the topic, in its project."""
    _, project, _, _ = name.split("/", 3)
    subscription = f"projects/{project}/subscriptions/{form.text('subscription')}"
    fields: dict[str, Any] = {
        "name": subscription,
        "topic": name,
        "ack_deadline_seconds": form.whole("ack_deadline_s", default=10, most=600),
        "filter": form.text("filter"),
        "enable_message_ordering": "ordered" in form,
        "enable_exactly_once_delivery": "exactly_once" in form,
        "retain_acked_messages": "retain" in form,
    }
    if form.text("push_endpoint"):
        fields["push_config"] = {"push_endpoint": form.text("push_endpoint")}
    if form.text("dead_letter_topic"):
        fields["dead_letter_policy"] = {
            "dead_letter_topic": form.text("dead_letter_topic"),
            "max_delivery_attempts": form.whole("attempts", default=5, most=100),
        }
    await run(console.service, "Subscriber/CreateSubscription", **fields)
    return go_to(path_of(subscription), done="created")


async def delete(console: Console, name: str, form: Form) -> HttpResponse:
    """Delete the topic."""
    await run(console.service, "Publisher/DeleteTopic", topic=name)
    return go_to("/ui", done="deleted")


#: By the last part of their path.
ACTIONS: Mapping[str, Callable[[Console, str, Form], Awaitable[HttpResponse]]] = {
    "publish": publish,
    "subscribe": subscribe,
    "delete": delete,
}


def _topic(console: Console, name: str) -> Topic:
    topic = console.service.emulator.topics.get(name)
    if topic is None:
        raise not_found(name)
    return topic


def _schema(console: Console, topic: Topic) -> ParsedSchema | None:
    """Return the schema of the topic; None without one, and for one that was deleted."""
    if not topic.config.HasField("schema_settings"):
        return None
    try:
        newest = console.service.schemas.newest(topic.config.schema_settings)
    except StatusError:
        return None  # a revision that the topic names was deleted
    return newest.parsed if newest is not None else None


def _schema_link(console: Console, topic: Topic) -> Html | str:
    name = topic.config.schema_settings.schema
    if not name:
        return "none"
    return link(name) if name in console.service.schemas.revisions else f"{name}, which is deleted"


def _forms(topic: Topic, schema: ParsedSchema | None) -> list[tuple[str, str]]:
    """Return the forms that data can be typed in, the usual one first."""
    forms = [("text", "text"), ("base64", "base64")]
    if schema is not None and topic.config.schema_settings.encoding == _BINARY:
        forms.insert(0, ("schema", "JSON, to be encoded by the schema"))
    return forms


def _flag(attribute: str, given: bool) -> Html | None:
    return Html(f" {attribute}") if given else None


def _begun(topic: Topic, schema: ParsedSchema | None) -> Mapping[str, str]:
    return {"data": schema_help.example(schema)} if schema is not None else {}


def _copied(console: Console, request: HttpRequest) -> Mapping[str, str]:
    """Return the fields of a message that is to be published again, as `?from=SUBSCRIPTION&id=ID` names it."""
    found = find_message(console, request.query.get("from", ""), request.query.get("id", ""))
    if found is None:
        return {}
    text = text_of(found.data)
    return {
        "data": base64.b64encode(found.data).decode() if text is None else text,
        "form": "base64" if text is None else "text",
        "ordering_key": found.ordering_key,
        "attributes": attribute_lines(_given(found.attributes)),
    }


def _given(attributes: Mapping[str, str]) -> dict[str, str]:
    """Return the attributes that the service did not set itself."""
    kept = dead_letter.without_source(attributes)
    return {key: value for key, value in kept.items() if not key.startswith("googclient_schema")}


def _data(form: Form, schema: ParsedSchema | None) -> bytes:
    text = form.get("data", "")
    match form.get("form", "text"):
        case "base64":
            try:
                return base64.b64decode("".join(text.split()), validate=True)
            except (binascii.Error, ValueError):
                raise invalid("The data is not base64.") from None
        case "schema" if schema is not None:
            try:
                return schema_help.encode(schema, text)
            except SchemaError as error:
                raise invalid(f"The data does not fit the schema: {error}.") from None
    return text.encode("utf-8", "replace")


def _help(console: Console, topic: Topic, schema: ParsedSchema) -> Html:
    return html(
        _HELP,
        encoding="Binary" if topic.config.schema_settings.encoding == _BINARY else "JSON",
        schema=_schema_link(console, topic),
        fields=field_table(schema),
    )


def field_table(schema: ParsedSchema) -> Html:
    """Return the fields of a schema."""
    return table(
        ("Field", "Type"),
        (
            html('<tr><td class="mono">{path}</td><td>{type}</td></tr>', path=path, type=type_[:200])
            for path, type_ in schema_help.fields(schema)
        ),
        empty="It has no fields.",
    )
