"""All topics, subscriptions and snapshots."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from poolhouse_pubsub.control.inspection import inspect
from poolhouse_pubsub.http import HttpRequest, HttpResponse
from poolhouse_pubsub.service.subscription_config import EXPORTS
from poolhouse_pubsub.ui.calls import Form, go_to, run
from poolhouse_pubsub.ui.console import Console
from poolhouse_pubsub.ui.layout import amount, link, moment, page, path_of, rate, span
from poolhouse_pubsub.ui.markup import Html, html, options, table

#: Most resources of a kind on the page; the search finds the others.
MOST_ROWS = 200

_BODY = """
<div class="title"><h1>Overview</h1>
<form method="get" action="/ui" role="search"><label class="sr" for="q">Part of a name</label>
<input id="q" name="q" type="search" value="{query}" placeholder="Part of a name"><button>Find</button></form></div>
<section aria-labelledby="topics"><h2 id="topics">Topics <span class="muted">{topic_count}</span></h2>
<div data-live="topics">{topics}</div>
<details class="more"{open}><summary>Create a topic…</summary>
<form method="post" action="/ui/topics" class="grid">
<label>Topic <input name="topic" required value="{topic}" placeholder="orders" autocomplete="off"></label>
<label>Project <input name="project" required value="{project}"></label>
<label>Keep messages for, in seconds
<input name="retention_s" inputmode="numeric" value="{retention}" placeholder="not at all"></label>
<label>Schema <select name="schema"><option value="">none</option>{schemas}</select></label>
<label>Encoding <select name="encoding">{encodings}</select></label>
<button class="solid">Create</button></form></details></section>
<section aria-labelledby="subscriptions">
<h2 id="subscriptions">Subscriptions <span class="muted">{subscription_count}</span></h2>
<div data-live="subscriptions">{subscriptions}</div></section>
<section aria-labelledby="snapshots"><h2 id="snapshots">Snapshots <span class="muted">{snapshot_count}</span></h2>
<div data-live="snapshots">{snapshots}</div></section>
"""
_TOPIC = """<tr><th scope="row">{link}</th><td>{schema}</td><td class="n">{subscriptions}</td>
<td class="n">{published}</td><td class="n">{rate}</td></tr>"""
_SNAPSHOT = """<tr><th scope="row">{name} <span class="muted small">{project}</span></th><td>{topic}</td>
<td>{expires}</td>
<td><form method="post" action="{action}"><button>Delete</button></form></td></tr>"""
_SUBSCRIPTION = """<tr><th scope="row">{link}</th><td>{topic}</td><td>{kind}</td><td class="n">{ready}</td>
<td class="n">{leased}</td><td class="n">{delayed}</td><td class="n">{age}</td><td class="n">{consumers}</td>
<td class="n">{finished}</td><td class="n">{dead}</td></tr>"""


def show(console: Console, request: HttpRequest, *, notice: str, error: str, form: Form) -> HttpResponse:
    """Return the page."""
    emulator = console.service.emulator
    query = request.query.get("q", "")[:300]
    topics = _found(emulator.topics, query)
    subscriptions = _found(emulator.subscriptions, query)
    snapshots = _found(emulator.snapshots, query)
    body = html(
        _BODY,
        query=query,
        topic_count=_counted(topics, emulator.topics, query),
        topics=table(
            ("Topic", "Schema", "#Subscriptions", "#Published", "#Rate"),
            (_topic_row(console, emulator.topics[name]) for name in topics),
            empty="No topics." if not query else "No topic has this in its name.",
        ),
        open=Html(" open") if error else None,
        topic=form.get("topic", ""),
        project=form.get("project", console.project),
        retention=form.get("retention_s", ""),
        schemas=options(((name, name) for name in console.service.schemas.revisions), chosen=form.get("schema", "")),
        encodings=options((("JSON", "JSON"), ("BINARY", "binary")), chosen=form.get("encoding", "")),
        subscription_count=_counted(subscriptions, emulator.subscriptions, query),
        subscriptions=subscription_table(console, subscriptions),
        snapshot_count=_counted(snapshots, emulator.snapshots, query),
        snapshots=table(
            ("Snapshot", "Topic", "Expires", ""),
            (_snapshot_row(emulator.snapshots[name]) for name in snapshots),
            empty="No snapshots. The page of a subscription takes one.",
        ),
    )
    return page("Overview", body, here="/ui", notice=notice, error=error)


def subscription_table(console: Console, names: Collection[str]) -> Html:
    """Return a table of subscriptions by their full names."""
    return table(
        (
            "Subscription",
            "Topic",
            "Delivery",
            "#Ready",
            "#Leased",
            "#Delayed",
            "#Oldest",
            "#Consumers",
            "#Finished",
            "#Dead-lettered",
        ),
        (_subscription_row(console, name) for name in names),
        empty="No subscriptions.",
    )


def kind_of(config: Any) -> str:
    """Return how a subscription is delivered."""
    if config.detached:
        return "detached"
    kind = next((field.removesuffix("_config") for field in EXPORTS if config.HasField(field)), "")
    kind = kind or ("push" if config.push_config.push_endpoint else "pull")
    extras = [
        text
        for text, is_on in (
            ("ordered", config.enable_message_ordering),
            ("exactly once", config.enable_exactly_once_delivery),
            ("filter", bool(config.filter)),
        )
        if is_on
    ]
    return ", ".join((kind.replace("_", " "), *extras))


async def create_topic(console: Console, form: Form) -> HttpResponse:
    """Create a topic."""
    name = f"projects/{form.text('project')}/topics/{form.text('topic')}"
    fields: dict[str, Any] = {"name": name}
    if form.text("retention_s"):
        fields["message_retention_duration"] = {"seconds": int(form.number("retention_s", default=0))}
    if form.text("schema"):
        fields["schema_settings"] = {"schema": form.text("schema"), "encoding": form.text("encoding") or "JSON"}
    await run(console.service, "Publisher/CreateTopic", **fields)
    return go_to(path_of(name), done="created")


async def delete_snapshot(console: Console, name: str) -> HttpResponse:
    """Delete a snapshot."""
    await run(console.service, "Subscriber/DeleteSnapshot", snapshot=name)
    return go_to("/ui", done="deleted")


def _found(resources: Mapping[str, Any], query: str) -> list[str]:
    return sorted(name for name in resources if query in name)[:MOST_ROWS]


def _counted(shown: Collection[str], all_of_them: Collection[str], query: str) -> str:
    if query or len(shown) < len(all_of_them):
        return f"{amount(len(shown))} of {amount(len(all_of_them))}"
    return amount(len(all_of_them))


def _topic_row(console: Console, topic: Any) -> Html:
    settings = topic.config.schema_settings
    return html(
        _TOPIC,
        link=link(topic.name),
        schema=link(settings.schema) if settings.schema in console.service.schemas.revisions else settings.schema,
        subscriptions=amount(len(topic.subscriptions)),
        published=amount(topic.published_count),
        rate=rate(console.rates.of(topic.name, topic.published_count)),
    )


def _subscription_row(console: Console, name: str) -> Html:
    emulator = console.service.emulator
    view = inspect(emulator, name, messages=0)
    return html(
        _SUBSCRIPTION,
        link=link(name),
        topic=link(view.topic),
        kind=kind_of(emulator.subscriptions[name].config),
        ready=amount(view.undelivered),
        leased=amount(view.outstanding),
        delayed=amount(view.delayed),
        age=span(view.oldest_unacked_age_s) if view.unacked else "",
        consumers=amount(view.consumers),
        finished=rate_and_count(console, name, view.finished),
        dead=amount(view.dead_lettered),
    )


def rate_and_count(console: Console, name: str, count: int) -> Html:
    """Return a count with its rate."""
    return html(
        '{count} <span class="muted">{rate}</span>', count=amount(count), rate=rate(console.rates.of(name, count))
    )


def _snapshot_row(snapshot: Any) -> Html:
    _, project, _, id = snapshot.name.split("/", 3)
    return html(
        _SNAPSHOT,
        name=id,
        project=project,
        topic=link(snapshot.config.topic),
        expires=moment(snapshot.config.expire_time.seconds),
        action=path_of(snapshot.name, "delete"),
    )
