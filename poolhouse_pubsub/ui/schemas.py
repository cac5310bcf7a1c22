"""Schemas and their revisions."""

from __future__ import annotations

from poolhouse_pubsub import protos
from poolhouse_pubsub.http import HttpResponse
from poolhouse_pubsub.service.schemas import Revision
from poolhouse_pubsub.status import not_found
from poolhouse_pubsub.ui import schema_help
from poolhouse_pubsub.ui.calls import Form, go_to, run
from poolhouse_pubsub.ui.console import Console
from poolhouse_pubsub.ui.layout import amount, link, moment, page, path_of
from poolhouse_pubsub.ui.markup import Html, html, options, table
from poolhouse_pubsub.ui.topics import field_table

_MOST_ROWS = 500
_TYPES = (("AVRO", "Avro"), ("PROTOCOL_BUFFER", "Protocol Buffers"))
_ALL = """
<div class="title"><h1>Schemas</h1></div>
<div data-live="schemas">{schemas}</div>
<details class="more"{open}><summary>Create a schema…</summary>
<form method="post" action="/ui/schemas" class="stack"><div class="grid">
<label>Schema <input name="schema" required value="{name}" placeholder="order" autocomplete="off"></label>
<label>Project <input name="project" required value="{project}"></label>
<label>Type <select name="type">{types}</select></label></div>
<label>Definition <textarea name="definition" rows="12" class="mono" spellcheck="false" required>
{definition}</textarea></label><div><button class="solid">Create</button></div></form></details>
"""
_ONE = """
<p class="crumb"><a href="/ui/schemas">Schemas</a></p>
<div class="title"><h1>{id} <span class="muted">{project}</span></h1><span class="badge">{type}</span></div>
<section><h2>Fields</h2>{fields}</section>
<section><h2>Example</h2><pre>
{example}</pre></section>
<section><h2>Revisions</h2>{revisions}</section>
<section><details><summary class="danger">Delete the schema…</summary>
<form method="post" action="{path}/delete" class="confirm">
<p>Topics that use it refuse to publish from then on.</p><button class="danger">Delete {id}</button></form></details>
</section>
"""


def show_all(console: Console, *, notice: str, error: str, form: Form) -> HttpResponse:
    """Return the page of all schemas."""
    revisions = console.service.schemas.revisions
    body = html(
        _ALL,
        schemas=table(
            ("Schema", "Type", "#Revisions"),
            (
                html(
                    '<tr><th scope="row">{link}</th><td>{type}</td><td class="n">{count}</td></tr>',
                    link=link(name),
                    type=_type(revisions[name][-1]),
                    count=amount(len(revisions[name])),
                )
                for name in sorted(revisions)[:_MOST_ROWS]
            ),
            empty="No schemas.",
        ),
        open=Html(" open") if error else None,
        name=form.get("schema", ""),
        project=form.get("project", console.project),
        types=options(_TYPES, chosen=form.get("type", "")),
        definition=form.get("definition", ""),
    )
    return page("Schemas", body, here="/ui/schemas", notice=notice, error=error)


def show(console: Console, name: str, *, notice: str, error: str) -> HttpResponse:
    """Return the page of one schema."""
    revisions = console.service.schemas.revisions.get(name)
    if revisions is None:
        raise not_found(name)
    _, project, _, id = name.split("/", 3)
    parsed = revisions[-1].parsed
    body = html(
        _ONE,
        id=id,
        project=project,
        path=path_of(name),
        type=_type(revisions[-1]),
        fields=field_table(parsed),
        example=schema_help.example(parsed) or "It would be too large.",
        revisions=(_revision(revision, is_newest=revision is revisions[-1]) for revision in reversed(revisions)),
    )
    return page(id, body, here="/ui/schemas", live=False, notice=notice, error=error)


async def create(console: Console, form: Form) -> HttpResponse:
    """Create a schema."""
    parent = f"projects/{form.text('project')}"
    await run(
        console.service,
        "SchemaService/CreateSchema",
        parent=parent,
        schema_id=form.text("schema"),
        schema={"type": form.text("type"), "definition": form.get("definition", "")},
    )
    return go_to(path_of(f"{parent}/schemas/{form.text('schema')}"), done="created")


async def delete(console: Console, name: str) -> HttpResponse:
    """Delete a schema."""
    await run(console.service, "SchemaService/DeleteSchema", name=name)
    return go_to("/ui/schemas", done="deleted")


def _type(revision: Revision) -> str:
    return dict(_TYPES)[protos.Schema.Type.Name(revision.config.type)]


def _revision(revision: Revision, *, is_newest: bool) -> Html:
    config = revision.config
    made = config.revision_create_time
    return html(
        '<details{open}><summary><span class="mono">{id}</span> <span class="muted">{made}</span></summary>'
        "<pre>\n{definition}</pre></details>",
        open=Html(" open") if is_newest else None,
        id=config.revision_id,
        made=moment(made.seconds + made.nanos / 1e9),
        definition=config.definition or "(compiled)",
    )
