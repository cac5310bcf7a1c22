"""The descriptor that the emulator's message classes are made of, taken from the installed client.

`python -m tests.kit.unit.pubsub.api_descriptor` writes it anew when a new client version has more in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2
from google.pubsub_v1.types import pubsub, schema

FILE = Path(__file__).parents[4] / "poolhouse_pubsub" / "api.binpb"


def from_client() -> Any:
    """A FileDescriptorSet of google.pubsub.v1 and what it imports, with the field names of its .proto files."""
    files: dict[str, Any] = {}
    for message in (schema.Schema, pubsub.Topic):
        _add(message.pb().DESCRIPTOR.file, files)
    return descriptor_pb2.FileDescriptorSet(file=files.values())


def _add(file: Any, files: dict[str, Any]) -> None:
    if file.name in files:
        return
    for dependency in file.dependencies:
        _add(dependency, files)
    declared = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(declared)
    declared.name = _name(declared.name)
    declared.dependency[:] = [_name(name) for name in declared.dependency]
    for message in declared.message_type:
        _rename_fields(message)
    files[file.name] = declared


def _name(name: str) -> str:
    """The name of the .proto file that a file of the Python package stands for."""
    return name.replace("google/pubsub_v1/types/", "google/pubsub/v1/")


def _rename_fields(message: Any) -> None:
    """Gives fields that Python's keywords forced another name (`type_`) their own one back."""
    for field in message.field:
        field.name = field.name.rstrip("_")
    for nested in message.nested_type:
        _rename_fields(nested)


if __name__ == "__main__":
    FILE.write_bytes(from_client().SerializeToString(deterministic=True))
    print(f"{FILE}: {FILE.stat().st_size} bytes")
