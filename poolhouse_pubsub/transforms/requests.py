"""The messages of ValidateMessageTransform and TestMessageTransforms.

Both are in the service's REST API (discovery document of Pub/Sub v1, and `gcloud pubsub message-transforms`), not in
the published google/pubsub/v1/pubsub.proto: their field numbers are unknown, so there is no gRPC form. The messages
here have a package of their own and serve the JSON form alone.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import any_pb2, descriptor_pb2, message_factory
from google.rpc import status_pb2

from poolhouse_pubsub import protos

_PACKAGE: Final = "pubsub_emulator"
_FIELD: Final = descriptor_pb2.FieldDescriptorProto

#: Fields by message: name, type ("" for a string) and whether it is repeated.
_MESSAGES: Final[dict[str, list[tuple[str, str, bool]]]] = {
    "ValidateMessageTransformRequest": [
        ("project", "", False),
        ("message_transform", "google.pubsub.v1.MessageTransform", False),
    ],
    "ValidateMessageTransformResponse": [],
    "MessageTransforms": [("message_transforms", "google.pubsub.v1.MessageTransform", True)],
    "TestMessageTransformsRequest": [
        ("project", "", False),
        ("message", "google.pubsub.v1.PubsubMessage", False),
        ("message_transforms", f"{_PACKAGE}.MessageTransforms", False),
        ("subscription", "", False),
        ("topic", "", False),
    ],
    "FailedMessage": [("error", "google.rpc.Status", False)],
    "FilteredMessage": [],
    "TransformedMessage": [
        ("failed_message", f"{_PACKAGE}.FailedMessage", False),
        ("filtered_message", f"{_PACKAGE}.FilteredMessage", False),
        ("transformed_message", "google.pubsub.v1.PubsubMessage", False),
    ],
    "TestMessageTransformsResponse": [("transformed_messages", f"{_PACKAGE}.TransformedMessage", True)],
}


def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="pubsub_emulator/transforms.proto",
        package=_PACKAGE,
        syntax="proto3",
        dependency=[protos.PubsubMessage.DESCRIPTOR.file.name, status_pb2.DESCRIPTOR.name],
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, (field, kind, repeated) in enumerate(fields, 1):
            message.field.add(
                name=field,
                number=number,
                label=_FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL,
                type=_FIELD.TYPE_MESSAGE if kind else _FIELD.TYPE_STRING,
                type_name=f".{kind}" if kind else None,
            )
    pool = protos.POOL
    for needed in (any_pb2, status_pb2):
        pool.AddSerializedFile(needed.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _MESSAGES
    }


_CLASSES: Final = _classes()

ValidateMessageTransformRequest: Any = _CLASSES["ValidateMessageTransformRequest"]
ValidateMessageTransformResponse: Any = _CLASSES["ValidateMessageTransformResponse"]
TestMessageTransformsRequest: Any = _CLASSES["TestMessageTransformsRequest"]
TestMessageTransformsResponse: Any = _CLASSES["TestMessageTransformsResponse"]
