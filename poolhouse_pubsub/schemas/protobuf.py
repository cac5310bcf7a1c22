"""Protocol Buffers schemas: compiled by protoc, then held as a message class of their own descriptor pool.

Slow to import and, a child process, slow to compile (some 0.1 s): imported only where such a schema is met.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory, unknown_fields
from google.protobuf.message import DecodeError

from poolhouse_pubsub.schemas.errors import SchemaError
from poolhouse_pubsub.schemas.json_text import load_json, short

_FILE_NAME: Final = "schema.proto"
#: Longest that protoc may take; it needs some 0.1 s.
_COMPILE_TIMEOUT_S: Final = 30.0
_FIELD: Final = descriptor_pb2.FieldDescriptorProto
_REQUIRED: Final = _FIELD.LABEL_REQUIRED


@dataclass(frozen=True, slots=True)
class ProtobufSchema:
    """A compiled definition."""

    #: The class of its root message.
    message_class: Any = field(repr=False)
    #: Descriptors of all top-level messages by full name.
    messages: Mapping[str, Any] = field(repr=False)
    #: Descriptors of all top-level enums by full name.
    enums: Mapping[str, Any] = field(repr=False)

    @property
    def root(self) -> str:
        """Full name of the root message."""
        name: str = self.message_class.DESCRIPTOR.full_name
        return name


def parse_protobuf(definition: str) -> ProtobufSchema:
    """Compile a definition (a ``.proto`` file's text, proto2 or proto3).

    Raises:
        SchemaError: protoc refuses it, it has not exactly one top-level message, or it imports another file.
    """
    file = _compile(definition)
    if file.dependency:
        raise SchemaError(
            f"the protocol buffer definition imports {', '.join(file.dependency)}:"
            " a schema may not use types of other files; declare them inside the message"
        )
    if len(file.message_type) != 1:
        names = ", ".join(message.name for message in file.message_type) or "none"
        raise SchemaError(
            f"the protocol buffer definition must have exactly one top-level message, found {names};"
            " declare the others inside it"
        )
    return _build([file], _path(file.package, file.message_type[0].name))


def parse_compiled_protobuf(root: str, compiled: bytes) -> ProtobufSchema:
    """Read a schema that was compiled before (CompiledProtoSchema in google/pubsub/v1/schema.proto).

    Args:
        root: Full name of the root message, with or without a leading dot.
        compiled: A serialised ``google.protobuf.FileDescriptorSet`` with every file that the root message needs, as
            ``protoc --include_imports --descriptor_set_out`` writes it.

    Raises:
        SchemaError: It is none, a file is missing or invalid, or it has no such message.
    """
    if not root:
        raise SchemaError("compiled_proto_schema has no root_message: it is the full name of the schema's message")
    try:
        files = descriptor_pb2.FileDescriptorSet.FromString(compiled).file
    except DecodeError as error:
        raise SchemaError(f"compiled_bytes is not a FileDescriptorSet: {error}") from None
    if not files:
        raise SchemaError("compiled_bytes is a FileDescriptorSet without a file")
    return _build(files, root.removeprefix("."))


def _build(files: Sequence[Any], root: str) -> ProtobufSchema:
    pool = descriptor_pool.DescriptorPool()
    try:
        for file in _dependencies_first(files):
            pool.Add(file)
        descriptor = pool.FindMessageTypeByName(root)
    except KeyError:
        raise SchemaError(f"there is no message {root!r} in the schema") from None
    except TypeError as error:  # What protobuf raises for a descriptor that its runtime can't hold.
        raise SchemaError(f"the protocol buffer definition can't be used: {error}") from None
    return ProtobufSchema(
        message_class=message_factory.GetMessageClass(descriptor),
        messages={_path(file.package, each.name): each for file in files for each in file.message_type},
        enums={_path(file.package, each.name): each for file in files for each in file.enum_type},
    )


def _dependencies_first(files: Sequence[Any]) -> list[Any]:
    waiting = {file.name: file for file in files}
    order: list[Any] = []
    while waiting:
        ready = [file for file in waiting.values() if not any(name in waiting for name in file.dependency)]
        if not ready:
            raise SchemaError(f"the files of the schema import each other: {', '.join(sorted(waiting))}")
        for file in ready:
            del waiting[file.name]
        order += ready
    known = {file.name for file in order}
    for file in order:
        missing = [name for name in file.dependency if name not in known]
        if missing:
            raise SchemaError(
                f"{file.name} imports {', '.join(missing)}, which compiled_bytes lacks: compile with --include_imports"
            )
    return order


def check_protobuf_json(schema: ProtobufSchema, data: bytes) -> None:
    """Check a message in protobuf's JSON mapping.

    Raises:
        SchemaError: It does not fit the schema, or has a field that the schema lacks.
    """
    name = schema.message_class.DESCRIPTOR.full_name
    value = load_json(data, what="the message")
    if not isinstance(value, dict):  # ParseDict would take an empty list for an empty message.
        raise SchemaError(f"the message is not a {name}: expected an object, found {short(value)}")
    message = schema.message_class()
    try:
        json_format.ParseDict(value, message)
    except RecursionError:
        raise SchemaError("the message is nested too deeply") from None
    except (json_format.ParseError, ValueError) as error:
        reason = " ".join(str(error).split())  # It comes in several lines.
        raise SchemaError(f"the message is not a {name} in JSON: {reason}") from None
    _check_required(message)


def check_protobuf_binary(schema: ProtobufSchema, data: bytes) -> None:
    """Check a message in protobuf's wire format.

    A field that the schema lacks is refused: almost any bytes parse as unknown fields, so that without this rule the
    check would say little. What the service does about them is not documented.

    Raises:
        SchemaError: It does not fit the schema.
    """
    name = schema.message_class.DESCRIPTOR.full_name
    message = schema.message_class()
    try:
        consumed = message.MergeFromString(data)
    except DecodeError as error:
        raise SchemaError(f"the message is not a {name} in the binary encoding: {error}") from None
    if consumed is not None and consumed < len(data):
        raise SchemaError(f"the message ends at byte {consumed}, but {len(data) - consumed} more bytes follow")
    _check_required(message)
    _check_known(message, name)


def check_protobuf_revision(old: ProtobufSchema, new: ProtobufSchema) -> None:
    """Check that a definition may follow another as a revision.

    Fields that are not required may come and go; a field that stays keeps its number, name, type and cardinality.
    Values may be added to an enum. Source: https://cloud.google.com/pubsub/docs/commit-schema-revision

    Raises:
        SchemaError: It may not; says which message or field.
    """
    if old.root != new.root:
        raise SchemaError(f"the message may not be renamed (it was {old.root}, it would be {new.root})")
    for name, enum in old.enums.items():
        if name in new.enums:
            _check_enum_revision(enum, [new.enums[name]], name)
    for name, message in old.messages.items():
        if name in new.messages:
            _check_message_revision(message, new.messages[name], name)


def _compile(definition: str) -> Any:
    """Run protoc.

    In a child process: its errors come as text on stderr only, and whatever a definition does to it stays there.
    """
    with tempfile.TemporaryDirectory(prefix="pubsub-schema-") as folder:
        source, compiled = Path(folder, _FILE_NAME), Path(folder, "compiled")
        try:
            source.write_text(definition, encoding="utf-8")
        except UnicodeEncodeError:
            raise SchemaError("the protocol buffer definition is not valid Unicode") from None
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}", f"--descriptor_set_out={compiled}"]
        try:
            run = subprocess.run(
                [*command, str(source)], capture_output=True, timeout=_COMPILE_TIMEOUT_S, check=False, cwd=folder
            )
        except subprocess.TimeoutExpired:
            raise SchemaError(f"protoc took more than {_COMPILE_TIMEOUT_S:.0f} s for the definition") from None
        if run.returncode != 0:
            raise SchemaError(
                f"the protocol buffer definition does not compile: {_reason(run.stderr.decode('utf-8', 'replace'))}"
            )
        return descriptor_pb2.FileDescriptorSet.FromString(compiled.read_bytes()).file[0]


def _reason(stderr: str) -> str:
    """Cut protoc's complaints to what concerns the definition: lines "schema.proto:LINE:COLUMN: text"."""
    lines = [
        line.partition(f"{_FILE_NAME}:")[2].strip() or line for line in stderr.splitlines() if ": warning:" not in line
    ]
    errors = [line for line in lines if line[:1].isdigit()] or lines or ["protoc gave no reason"]
    return "; ".join(f"line {line}" if line[:1].isdigit() else line for line in errors[:3])


def _check_required(message: Any) -> None:
    missing: list[str] = message.FindInitializationErrors()
    if missing:
        raise SchemaError(f"required fields are missing: {', '.join(missing[:10])}")


def _check_known(message: Any, where: str) -> None:
    unknown = unknown_fields.UnknownFieldSet(message)
    if len(unknown) > 0:
        raise SchemaError(f"{where}: there is no field with number {unknown[0].field_number}")
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None:
            continue
        path = f"{where}.{descriptor.name}"
        if descriptor.message_type.GetOptions().map_entry:
            if descriptor.message_type.fields_by_name["value"].message_type is not None:
                for item in value.values():
                    _check_known(item, path)
        elif descriptor.is_repeated:
            for item in value:
                _check_known(item, path)
        else:
            _check_known(value, path)


def _check_message_revision(old: Any, new: Any, where: str) -> None:
    old_fields = {member.number: member for member in old.field}
    new_fields = {member.number: member for member in new.field}
    for number in sorted(old_fields.keys() | new_fields.keys()):
        before, after = old_fields.get(number), new_fields.get(number)
        if before is not None and after is not None:
            _check_field_revision(old, before, new, after, f"{where}.{before.name}")
        elif before is not None and before.label == _REQUIRED:
            raise SchemaError(f"field {where}.{before.name}: a required field may not be removed")
        elif after is not None and after.label == _REQUIRED:
            raise SchemaError(f"field {where}.{after.name}: a required field may not be added")
    old_names = {member.name: member.number for member in old.field}
    for member in new.field:
        if old_names.get(member.name, member.number) != member.number:
            raise SchemaError(f"field {where}.{member.name}: its number may not change")
    for enum in old.enum_type:
        _check_enum_revision(enum, new.enum_type, f"{where}.{enum.name}")
    nested = {inner.name: inner for inner in new.nested_type}
    for inner in old.nested_type:
        if inner.name in nested:
            _check_message_revision(inner, nested[inner.name], f"{where}.{inner.name}")


def _check_field_revision(old: Any, before: Any, new: Any, after: Any, where: str) -> None:
    if before.name != after.name:
        raise SchemaError(f"field {where}: number {before.number} may not go to another field ({after.name})")
    if (before.type, before.type_name) != (after.type, after.type_name):
        raise SchemaError(f"field {where}: its type may not change from {_type(before)} to {_type(after)}")
    if before.label != after.label:
        raise SchemaError(f"field {where}: it may not change between optional, required and repeated")
    if _oneof(old, before) != _oneof(new, after):
        raise SchemaError(f"field {where}: it may not move into or out of a oneof")


def _check_enum_revision(old: Any, candidates: Any, where: str) -> None:
    new = next((enum for enum in candidates if enum.name == old.name), None)
    if new is None:  # A field that still used it has been refused already, or is gone with it.
        return
    numbers = {value.name: value.number for value in new.value}
    for value in old.value:
        if numbers.get(value.name) != value.number:
            raise SchemaError(f"enum {where}: value {value.name} = {value.number} may not be removed or renumbered")


def _oneof(message: Any, member: Any) -> str | None:
    # proto3's "optional" is a oneof of its own in the descriptor, which is not one to its users.
    if not member.HasField("oneof_index") or member.proto3_optional:
        return None
    name: str = message.oneof_decl[member.oneof_index].name
    return name


def _type(member: Any) -> str:
    name: str = member.type_name.lstrip(".") or _FIELD.Type.Name(member.type).removeprefix("TYPE_").lower()
    return name


def _path(package: str, name: str) -> str:
    return f"{package}.{name}" if package else name
