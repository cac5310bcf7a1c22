"""Schemas (section 13)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf import descriptor_pb2

from tests.kit.conformance.semantics.targets import Project, refused

FIELD = {"name": "id", "type": "int"}
AVRO = json.dumps({"type": "record", "name": "Order", "fields": [FIELD]})
WITH_NOTE = json.dumps(
    {
        "type": "record",
        "name": "Order",
        "fields": [FIELD, {"name": "note", "type": ["null", "string"], "default": None}],
    }
)
OTHER_TYPE = json.dumps({"type": "record", "name": "Order", "fields": [{"name": "id", "type": "string"}]})
PROTO = 'syntax = "proto3"; message Order { int32 id = 1; }'


def create(project: Project, definition: str = AVRO, *, type_: str = "AVRO", id: str = "order") -> Any:
    return project.clients.schemas.create_schema(
        parent=project.path, schema={"type_": type_, "definition": definition}, schema_id=id
    )


def commit(project: Project, definition: str, *, name: str) -> Any:
    return project.clients.schemas.commit_schema(
        name=name, schema={"name": name, "type_": "AVRO", "definition": definition}
    )


def topic_with(project: Project, name: str, encoding: str = "JSON") -> str:
    return project.topic(schema_settings={"schema": name, "encoding": encoding})


def test_a_schema_is_created_once_with_a_revision(project: Project) -> None:
    made = create(project)
    assert made.name == project.name("schemas", "order")
    assert len(made.revision_id) == 8
    with refused("ALREADY_EXISTS"):
        create(project)


@pytest.mark.parametrize(("definition", "type_"), [("nonsense", "AVRO"), (AVRO, "TYPE_UNSPECIFIED"), ("", "AVRO")])
def test_a_bad_definition_or_type_is_refused(project: Project, definition: str, type_: str) -> None:
    with refused("INVALID_ARGUMENT"):
        create(project, definition, type_=type_)


@pytest.mark.google_deviates("UNIMPLEMENTED")
def test_a_protobuf_schema_is_taken_and_validates(project: Project) -> None:
    made = create(project, PROTO, type_="PROTOCOL_BUFFER")
    name = project.subscription(topic=topic_with(project, made.name))
    project.publish('{"id": 7}')
    assert len(project.pull(name)) == 1
    with refused("INVALID_ARGUMENT"):
        project.publish('{"id": "no number"}')


def compiled(*fields: str, root: str = "shop.Order", without: str = "") -> dict[str, Any]:
    """A schema that comes compiled: its message, with int32 fields, uses one of another file."""
    types = descriptor_pb2.FieldDescriptorProto
    shared = descriptor_pb2.FileDescriptorProto(name="shared.proto", package="shop", syntax="proto3")
    shared.message_type.add(name="Note").field.add(name="text", number=1, label=1, type=types.TYPE_STRING)
    order = descriptor_pb2.FileDescriptorProto(name="order.proto", package="shop", syntax="proto3")
    order.dependency.append("shared.proto")
    message = order.message_type.add(name="Order")
    for number, field in enumerate(fields, 1):
        message.field.add(name=field, number=number, label=1, type=types.TYPE_INT32)
    message.field.add(name="note", number=50, label=1, type=types.TYPE_MESSAGE, type_name=".shop.Note")
    files = descriptor_pb2.FileDescriptorSet(file=[file for file in (order, shared) if file.name != without])
    return {
        "type_": "PROTOCOL_BUFFER",
        "compiled_proto_schema": {"root_message": root, "compiled_bytes": files.SerializeToString()},
    }


@pytest.mark.google_deviates("UNIMPLEMENTED")
def test_a_compiled_protobuf_schema_is_kept_and_validates(project: Project) -> None:
    schema = compiled("id")
    made = project.clients.schemas.create_schema(parent=project.path, schema=schema, schema_id="order")
    found = project.clients.schemas.get_schema(name=made.name)
    assert found.compiled_proto_schema.root_message == "shop.Order"
    assert found.compiled_proto_schema.compiled_bytes == schema["compiled_proto_schema"]["compiled_bytes"]
    name = project.subscription(topic=topic_with(project, made.name))
    project.publish('{"id": 7, "note": {"text": "hi"}}')
    assert len(project.pull(name)) == 1
    for wrong in ('{"id": "no number"}', '{"other": 1}'):
        with refused("INVALID_ARGUMENT"):
            project.publish(wrong)


@pytest.mark.google_deviates("UNIMPLEMENTED")
def test_a_compiled_schema_goes_through_revisions_and_is_hidden_in_a_basic_view(project: Project) -> None:
    schemas = project.clients.schemas
    made = schemas.create_schema(parent=project.path, schema=compiled("id"), schema_id="order")
    second = schemas.commit_schema(name=made.name, schema={"name": made.name, **compiled("id", "count")})
    assert second.revision_id != made.revision_id
    for wrong in (compiled("id", "count"), compiled("number", "count"), compiled("id", root="shop.Note")):
        with refused("INVALID_ARGUMENT"):
            schemas.commit_schema(name=made.name, schema={"name": made.name, **wrong})
    third = schemas.rollback_schema(name=made.name, revision_id=made.revision_id)
    assert third.compiled_proto_schema == made.compiled_proto_schema
    assert "compiled_proto_schema" in schemas.get_schema(name=made.name)
    assert "compiled_proto_schema" not in schemas.get_schema({"name": made.name, "view": "BASIC"})
    listed = list(schemas.list_schema_revisions(name=made.name))
    assert len(listed) == 3
    assert not any("compiled_proto_schema" in revision for revision in listed)


@pytest.mark.parametrize(
    "schema",
    [
        compiled("id", root="shop.Missing"),
        compiled("id", root=""),
        compiled("id", without="shared.proto"),
        {"type_": "PROTOCOL_BUFFER", "compiled_proto_schema": {"root_message": "A", "compiled_bytes": b"nonsense"}},
        {"type_": "PROTOCOL_BUFFER", "compiled_proto_schema": {"root_message": "A"}},
        {**compiled("id"), "definition": PROTO},
    ],
    ids=["absent-root", "no-root", "missing-file", "nonsense", "empty", "definition-too"],
)
@pytest.mark.google_deviates("UNIMPLEMENTED")
def test_a_bad_compiled_schema_is_refused(project: Project, schema: dict[str, Any]) -> None:
    with refused("INVALID_ARGUMENT"):
        project.clients.schemas.create_schema(parent=project.path, schema=schema, schema_id="order")
    with refused("INVALID_ARGUMENT"):
        project.clients.schemas.validate_schema(parent=project.path, schema=schema)


def test_a_compiled_schema_is_no_avro(project: Project) -> None:
    with refused("INVALID_ARGUMENT"):
        project.clients.schemas.create_schema(
            parent=project.path, schema={**compiled("id"), "type_": "AVRO"}, schema_id="order"
        )


@pytest.mark.google_deviates("310 KB are taken")
def test_a_definition_over_300_kb_is_refused(project: Project) -> None:
    long = json.dumps({"type": "record", "name": "Order", "doc": "x" * 301_000, "fields": [FIELD]})
    with refused("INVALID_ARGUMENT"):
        create(project, long)


def test_get_answers_the_definition_by_name_and_by_revision(project: Project) -> None:
    made = create(project)
    get = project.clients.schemas.get_schema
    assert get(name=made.name).definition == AVRO
    assert get(name=f"{made.name}@{made.revision_id}").definition == AVRO
    assert get({"name": made.name, "view": "BASIC"}).definition == ""
    with refused("NOT_FOUND"):
        get(name=f"{made.name}@{'0' * 8}")


@pytest.mark.google_deviates("a listing includes the definitions")
def test_a_listing_leaves_the_definitions_out_unless_asked(project: Project) -> None:
    create(project)
    listed = project.clients.schemas.list_schemas
    assert [each.definition for each in listed({"parent": project.path})] == [""]
    assert [each.definition for each in listed({"parent": project.path, "view": "FULL"})] == [AVRO]


def test_a_compatible_revision_is_committed(project: Project) -> None:
    made = create(project)
    second = commit(project, WITH_NOTE, name=made.name)
    assert second.revision_id != made.revision_id
    listed = project.clients.schemas.list_schema_revisions({"name": made.name, "view": "FULL"})
    assert {each.definition for each in listed} == {AVRO, WITH_NOTE}


@pytest.mark.google_deviates("taken")
def test_an_incompatible_revision_is_refused(project: Project) -> None:
    made = create(project)
    with refused("INVALID_ARGUMENT"):
        commit(project, OTHER_TYPE, name=made.name)


@pytest.mark.google_deviates("an unchanged definition becomes a new revision")
def test_an_unchanged_definition_is_no_revision(project: Project) -> None:
    made = create(project)
    with refused("INVALID_ARGUMENT"):
        commit(project, AVRO, name=made.name)


def test_a_revision_has_the_type_of_its_schema(project: Project) -> None:
    made = create(project)
    schema = {"name": made.name, "type_": "PROTOCOL_BUFFER", "definition": PROTO}
    with refused("INVALID_ARGUMENT", "UNIMPLEMENTED"):
        project.clients.schemas.commit_schema(name=made.name, schema=schema)


@pytest.mark.google_deviates("counts from 1970")
def test_a_revision_says_when_it_was_made(project: Project) -> None:
    assert create(project).revision_create_time.timestamp() > 1_600_000_000


def test_a_21st_revision_is_refused(project: Project) -> None:
    made = create(project)
    for number in range(19):
        commit(project, WITH_NOTE if number % 2 == 0 else AVRO, name=made.name)
    with refused("RESOURCE_EXHAUSTED"):
        commit(project, AVRO if number % 2 == 0 else WITH_NOTE, name=made.name)


def test_a_rollback_is_a_new_revision_with_the_old_definition(project: Project) -> None:
    made = create(project)
    commit(project, WITH_NOTE, name=made.name)
    back = project.clients.schemas.rollback_schema({"name": made.name, "revision_id": made.revision_id})
    assert back.revision_id != made.revision_id
    assert back.definition == AVRO
    with refused("NOT_FOUND"):
        project.clients.schemas.rollback_schema({"name": made.name, "revision_id": "0" * 8})


def test_a_revision_is_deleted_but_not_the_last_one(project: Project) -> None:
    made = create(project)
    second = commit(project, WITH_NOTE, name=made.name)
    delete = project.clients.schemas.delete_schema_revision
    with refused("NOT_FOUND"):
        delete({"name": f"{made.name}@{'0' * 8}"})
    delete({"name": f"{made.name}@{made.revision_id}"})
    with refused("INVALID_ARGUMENT"):
        delete({"name": f"{made.name}@{second.revision_id}"})


@pytest.mark.google_deviates("NOT_FOUND")
def test_a_deleted_revision_is_named(project: Project) -> None:
    made = create(project)
    commit(project, WITH_NOTE, name=made.name)
    with refused("INVALID_ARGUMENT"):
        project.clients.schemas.delete_schema_revision({"name": made.name})


def test_messages_are_validated_when_published(project: Project) -> None:
    name = project.subscription(topic=topic_with(project, create(project).name))
    project.publish('{"id": 7}')
    with refused("INVALID_ARGUMENT"):
        project.publish('{"id": "seven"}')
    (received,) = project.pull(name)
    attributes = received.message.attributes
    assert attributes["googclient_schemaencoding"] == "JSON"
    assert attributes["googclient_schemaname"] == project.name("schemas", "order")
    assert len(attributes["googclient_schemarevisionid"]) == 8


@pytest.mark.google_deviates("fields that the schema does not have are taken")
def test_a_message_with_an_unknown_field_is_refused(project: Project) -> None:
    topic_with(project, create(project).name)
    with refused("INVALID_ARGUMENT"):
        project.publish('{"id": 7, "more": 1}')


def test_a_topic_needs_a_schema_that_is_there_and_an_encoding(project: Project) -> None:
    with refused("NOT_FOUND"):
        topic_with(project, project.name("schemas", "absent"))
    with refused("INVALID_ARGUMENT"):
        topic_with(project, create(project).name, "ENCODING_UNSPECIFIED")


def test_a_message_may_fit_any_of_the_revisions_that_a_topic_allows(project: Project) -> None:
    made = create(project)
    second = commit(project, WITH_NOTE, name=made.name)
    settings = {"schema": made.name, "encoding": "JSON"}
    name = project.subscription(topic=project.topic(schema_settings=settings))
    project.publish('{"id": 7}')
    project.publish('{"id": 7, "note": {"string": "x"}}')
    found = [each.message.attributes["googclient_schemarevisionid"] for each in project.pull(name, at_least=2)]
    assert set(found) == {made.revision_id, second.revision_id}
    project.topic("old", schema_settings={**settings, "last_revision_id": made.revision_id})
    with refused("INVALID_ARGUMENT"):
        project.publish('{"id": "x"}', topic=project.name("topics", "old"))
    with refused("NOT_FOUND", "INVALID_ARGUMENT"):
        project.topic("odd", schema_settings={**settings, "first_revision_id": "0" * 8})


def test_binary_messages_are_validated_too(project: Project) -> None:
    name = project.subscription(topic=topic_with(project, create(project).name, "BINARY"))
    project.publish(b"\x0e")
    with refused("INVALID_ARGUMENT"):
        project.publish(b"")
    assert project.pull(name)[0].message.attributes["googclient_schemaencoding"] == "BINARY"


def test_a_deleted_schema_is_no_schema_for_a_topic(project: Project) -> None:
    with refused("INVALID_ARGUMENT", "NOT_FOUND"):
        topic_with(project, "_deleted-schema_")


def test_publishing_fails_once_the_schema_is_deleted(project: Project) -> None:
    made = create(project)
    topic = topic_with(project, made.name)
    project.clients.schemas.delete_schema(name=made.name)
    assert project.publisher.get_topic(topic=topic).schema_settings.schema == "_deleted-schema_"
    with refused("NOT_FOUND"):
        project.publish('{"id": 7}')


def test_a_schema_and_a_message_can_be_validated_without_storing_them(project: Project) -> None:
    schemas, schema = project.clients.schemas, {"type_": "AVRO", "definition": AVRO}
    schemas.validate_schema(parent=project.path, schema=schema)
    request = {"parent": project.path, "schema": schema, "encoding": "JSON"}
    schemas.validate_message({**request, "message": b'{"id": 7}'})
    with refused("INVALID_ARGUMENT"):
        schemas.validate_message({**request, "message": b'{"id": "x"}'})
    with refused("INVALID_ARGUMENT"):
        schemas.validate_message({"parent": project.path, "schema": schema, "message": b'{"id": 7}'})
    with refused("NOT_FOUND"):
        absent = {"parent": project.path, "name": project.name("schemas", "absent"), "encoding": "JSON"}
        schemas.validate_message({**absent, "message": b'{"id": 7}'})
    with refused("INVALID_ARGUMENT"):
        schemas.validate_schema(parent=project.path, schema={"type_": "AVRO", "definition": "{"})
