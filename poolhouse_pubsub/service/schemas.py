"""google.pubsub.v1.SchemaService, and the check of messages that topics with a schema make."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from poolhouse_pubsub import limits, names, protos
from poolhouse_pubsub.core.emulator import Emulator, timestamp
from poolhouse_pubsub.resources import Resources
from poolhouse_pubsub.schemas import (
    ParsedSchema,
    SchemaError,
    check_compatible,
    parse_compiled_schema,
    parse_schema,
    validate_message,
)
from poolhouse_pubsub.service import paging
from poolhouse_pubsub.service.quota import limit_project
from poolhouse_pubsub.status import Code, Reason, StatusError, already_exists, invalid, not_found

_TYPES = {number: name for name, number in protos.Schema.Type.items() if number}
_BASIC, _FULL = 1, 2
_ENCODINGS = {1: "JSON", 2: "BINARY"}


def _parsed(config: Any) -> ParsedSchema:
    """Parse a Schema of a known type.

    Raises:
        SchemaError: It is none of its type.
    """
    kind = _TYPES[config.type]
    if not config.HasField("compiled_proto_schema"):
        return parse_schema(kind, config.definition)
    if kind != "PROTOCOL_BUFFER":
        raise SchemaError(f"a schema of type {kind} has a definition, and no compiled_proto_schema")
    if config.definition:
        raise SchemaError("a schema has either a definition or a compiled_proto_schema, not both")
    compiled = config.compiled_proto_schema
    return parse_compiled_schema(compiled.root_message, compiled.compiled_bytes)


class Revision:
    """One revision of a schema.

    Args:
        config: Its `google.pubsub.v1.Schema`.
        parsed: Its definition, parsed; None to parse it when it is first needed.
    """

    def __init__(self, config: Any, parsed: ParsedSchema | None = None) -> None:
        self.config = config
        self._parsed = parsed

    @property
    def parsed(self) -> ParsedSchema:
        """The parsed definition."""
        if self._parsed is None:
            self._parsed = _parsed(self.config)
        return self._parsed


class Schemas:
    """The RPCs on schemas.

    Args:
        emulator: The state; topics that use a schema are found there.
    """

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        #: Revisions by schema name, oldest first.
        self.revisions: Resources[list[Revision]] = Resources()
        emulator.on_reset.append(self.revisions.clear)

    def check_settings(self, settings: Any) -> None:
        """Check a topic's SchemaSettings.

        Raises:
            StatusError: INVALID_ARGUMENT, or NOT_FOUND for a schema or revision that is not there.
        """
        names.check(settings.schema, "schemas")
        if settings.schema not in self.revisions:
            raise not_found(settings.schema)
        if settings.encoding not in _ENCODINGS:
            raise invalid("Invalid schema_settings: encoding is JSON or BINARY.")
        self._allowed(settings)

    def _allowed(self, settings: Any) -> list[Revision]:
        """Return the revisions that a topic allows, newest first."""
        revisions = self.revisions[settings.schema]
        ids = [revision.config.revision_id for revision in revisions]
        places = []
        for wanted, default in ((settings.first_revision_id, 0), (settings.last_revision_id, len(ids) - 1)):
            if wanted and wanted not in ids:
                raise not_found(f"{settings.schema}@{wanted}")
            places.append(ids.index(wanted) if wanted else default)
        first, last = places
        if first > last:
            raise invalid("Invalid schema_settings: first_revision_id is newer than last_revision_id.")
        return revisions[first : last + 1][::-1]

    def definition(self, settings: Any) -> str:
        """Return the definition of the newest revision that a topic's SchemaSettings allow, "" for a deleted schema."""
        newest = self.newest(settings)
        return str(newest.config.definition) if newest is not None else ""

    def newest(self, settings: Any) -> Revision | None:
        """Return the newest revision that a topic's SchemaSettings allow; None for a deleted schema."""
        return self._allowed(settings)[0] if settings.schema in self.revisions else None

    def check_messages(self, settings: Any, messages: Sequence[Any]) -> None:
        """Check messages against the schema of their topic, and add the attributes that name it.

        Raises:
            StatusError: INVALID_ARGUMENT for a message that fits no allowed revision, NOT_FOUND for a deleted schema.
        """
        if settings.schema not in self.revisions:
            raise StatusError(Code.NOT_FOUND, "Schema associated with topic deleted.", reason=Reason.SCHEMA)
        allowed, encoding = self._allowed(settings), _ENCODINGS[settings.encoding]
        found = [self._fitting(allowed, message.data, encoding, number) for number, message in enumerate(messages)]
        for message, revision in zip(messages, found, strict=True):
            message.attributes["googclient_schemaencoding"] = encoding
            message.attributes["googclient_schemaname"] = settings.schema
            message.attributes["googclient_schemarevisionid"] = revision.config.revision_id

    def _fitting(self, allowed: Sequence[Revision], data: bytes, encoding: str, number: int) -> Revision:
        reason: SchemaError | None = None
        for revision in allowed:
            try:
                validate_message(revision.parsed, data, encoding)
            except SchemaError as error:
                reason = reason or error
            else:
                return revision
        raise invalid(
            f"Invalid data in message {number}: it does not fit the topic's schema: {reason}", reason=Reason.SCHEMA
        )

    def _find(self, name: str) -> tuple[str, list[Revision], Revision]:
        """Name, revisions and the revision meant by a name that may carry one."""
        base, wanted = names.check_schema(name)
        revisions = self.revisions.get(base)
        if revisions is None:
            raise not_found(base)
        if not wanted:
            return base, revisions, revisions[-1]
        for revision in revisions:
            if revision.config.revision_id == wanted:
                return base, revisions, revision
        raise not_found(name)

    async def _parse(self, config: Any) -> ParsedSchema:
        if config.type not in _TYPES:
            raise invalid("Invalid schema type: it is AVRO or PROTOCOL_BUFFER.")
        try:
            # The Protocol Buffers compiler takes its time: not on the loop that delivers messages.
            return await asyncio.to_thread(_parsed, config)
        except SchemaError as error:
            raise invalid(f"Invalid schema definition: {error}") from None

    def _append(self, name: str, source: Any, parsed: ParsedSchema | None) -> Any:
        emulator = self._emulator
        if name not in self.revisions:
            self.revisions[name] = []
        revisions = self.revisions[name]
        taken = {revision.config.revision_id for revision in revisions}
        revision_id = f"{emulator.random.getrandbits(32):08x}"
        while revision_id in taken:
            revision_id = f"{emulator.random.getrandbits(32):08x}"
        config = protos.Schema(
            name=name,
            type=source.type,
            definition=source.definition,
            revision_id=revision_id,
            revision_create_time=timestamp(emulator.clock.now()),
        )
        if source.HasField("compiled_proto_schema"):
            config.compiled_proto_schema.CopyFrom(source.compiled_proto_schema)
        revisions.append(Revision(config, parsed))
        self._save(name)
        return config

    def _save(self, name: str) -> None:
        if self._emulator.journal is not None:
            listed = protos.ListSchemaRevisionsResponse(schemas=[each.config for each in self.revisions[name]])
            self._emulator.journal.put("schema", name, "", listed.SerializeToString())
        self._emulator.commit()

    async def create_schema(self, request: Any) -> Any:
        """CreateSchema."""
        names.check_project(request.parent)
        name = names.check(f"{request.parent}/schemas/{request.schema_id}", "schemas")
        if name in self.revisions:
            raise already_exists(name)
        parsed = await self._parse(request.schema)
        if name in self.revisions:
            raise already_exists(name)
        limit_project(self.revisions, names.project_of(name), limits.SCHEMAS, "schemas")
        return self._append(name, request.schema, parsed)

    def get_schema(self, request: Any) -> Any:
        """GetSchema; FULL unless BASIC is asked for."""
        return _view(self._find(request.name)[2].config, request.view or _FULL)

    def list_schemas(self, request: Any) -> Any:
        """ListSchemas; BASIC unless FULL is asked for."""
        prefix = names.check_project(request.parent) + "/"
        chosen, token = paging.page(
            (name for name in self.revisions if name.startswith(prefix)),
            size=request.page_size,
            token=request.page_token,
        )
        return protos.ListSchemasResponse(
            schemas=[_view(self.revisions[name][-1].config, request.view or _BASIC) for name in chosen],
            next_page_token=token,
        )

    def list_schema_revisions(self, request: Any) -> Any:
        """ListSchemaRevisions, oldest first."""
        _, revisions, _ = self._find(request.name)
        # Numbered, since a page goes by the order of its names.
        numbered = {f"{place:04d}": revision for place, revision in enumerate(revisions)}
        chosen, token = paging.page(numbered, size=request.page_size, token=request.page_token)
        return protos.ListSchemaRevisionsResponse(
            schemas=[_view(numbered[place].config, request.view or _BASIC) for place in chosen], next_page_token=token
        )

    async def commit_schema(self, request: Any) -> Any:
        """CommitSchema."""
        name, revisions, latest = self._find(request.name)
        if request.schema.type not in (0, latest.config.type):
            raise invalid(f"Invalid schema type: a revision has the type of its schema {name}.")
        request.schema.type = latest.config.type
        parsed = await self._parse(request.schema)
        name, revisions, latest = self._find(request.name)
        _check_room(name, revisions)
        if _content(latest.config) == _content(request.schema):
            raise invalid(f"The definition is that of the latest revision of {name}: there is nothing to commit.")
        try:
            check_compatible(latest.parsed, parsed)
        except SchemaError as error:
            raise invalid(f"Incompatible schema revision: {error}") from None
        return self._append(name, request.schema, parsed)

    def rollback_schema(self, request: Any) -> Any:
        """RollbackSchema."""
        name, revisions, _ = self._find(request.name)
        if not request.revision_id:
            raise invalid("RollbackSchema needs a revision_id.")
        revision = self._find(f"{name}@{request.revision_id}")[2]
        _check_room(name, revisions)
        return self._append(name, revision.config, revision.parsed)

    def delete_schema_revision(self, request: Any) -> Any:
        """DeleteSchemaRevision; answers the schema as it is without it."""
        base, revision_id = names.check_schema(request.name)
        if not revision_id:
            raise invalid(f"Invalid name {request.name[:300]}: it must carry the revision, as in NAME@REVISION.")
        _, revisions, revision = self._find(request.name)
        if len(revisions) == 1:
            raise invalid("Cannot delete last revision. Please use DeleteSchema.")
        revisions.remove(revision)
        self._save(base)
        return revisions[-1].config

    def delete_schema(self, request: Any) -> Any:
        """DeleteSchema; topics that used it can't be published to any more."""
        name, _, _ = self._find(request.name)
        del self.revisions[name]
        if self._emulator.journal is not None:
            self._emulator.journal.drop("schema", name)
        for topic in self._emulator.topics.values():
            if topic.config.schema_settings.schema == name:
                topic.config.schema_settings.schema = names.DELETED_SCHEMA
                self._emulator.save_topic(topic)
        self._emulator.commit()
        return protos.Empty()

    async def validate_schema(self, request: Any) -> Any:
        """ValidateSchema."""
        names.check_project(request.parent)
        await self._parse(request.schema)
        return protos.ValidateSchemaResponse()

    async def validate_message(self, request: Any) -> Any:
        """ValidateMessage, against a stored or an ad-hoc schema."""
        names.check_project(request.parent)
        encoding = _ENCODINGS.get(request.encoding)
        if encoding is None:
            raise invalid("Invalid encoding: it is JSON or BINARY.")
        spec = request.WhichOneof("schema_spec")
        if spec is None:
            raise invalid("ValidateMessage needs a schema: a name or a schema of its own.")
        parsed = self._find(request.name)[2].parsed if spec == "name" else await self._parse(request.schema)
        try:
            validate_message(parsed, request.message, encoding)
        except SchemaError as error:
            raise invalid(f"Invalid message: {error}") from None
        return protos.ValidateMessageResponse()


def _check_room(name: str, revisions: Sequence[Revision]) -> None:
    if len(revisions) >= limits.SCHEMA_REVISIONS:
        raise StatusError(
            Code.RESOURCE_EXHAUSTED, f"Schema {name} has {limits.SCHEMA_REVISIONS} revisions: delete one first."
        )


def _content(config: Any) -> tuple[str, str, bytes]:
    """Return what distinguishes one revision from another."""
    compiled = config.compiled_proto_schema
    return config.definition, compiled.root_message, compiled.compiled_bytes


def _view(config: Any, view: int) -> Any:
    if view == _FULL:
        return config
    answer = protos.Schema()
    answer.CopyFrom(config)
    answer.ClearField("definition")
    answer.ClearField("compiled_proto_schema")
    return answer
