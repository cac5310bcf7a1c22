"""Requests and answers between JSON and protobuf, as strict as Google's REST front."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from poolhouse_pubsub.status import StatusError, invalid

_MASK_UNDERSCORE = re.compile(r"_([a-z0-9])")
#: Deepest nesting of messages that is taken (json_format's own limit).
_MAX_DEPTH = 100


def read_json(body: bytes) -> dict[str, Any]:
    """Parse a request's body; an empty one is an empty object.

    Raises:
        StatusError: INVALID_ARGUMENT: it is no JSON object.
    """
    if not body.strip():
        return {}
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise invalid(f"Invalid JSON payload received. {error}") from None
    if not isinstance(value, dict):
        raise invalid("Invalid JSON payload received. The body must be a JSON object.")
    return value


def to_message(fields: Mapping[str, Any], message: Any) -> Any:
    """Fill a protobuf message from JSON, lowerCamelCase or snake_case; returns it.

    Raises:
        StatusError: INVALID_ARGUMENT: an unknown field, a value of another type, or bytes that are not base64.
    """
    try:
        _check_base64(fields, message.DESCRIPTOR, "", 0)
        return json_format.ParseDict(_with_camel_mask(fields), message)
    except RecursionError:
        raise invalid("Invalid JSON payload received. It is nested too deeply.") from None
    except (json_format.ParseError, ValueError) as error:
        reason = " ".join(str(error).split())  # json_format breaks its lines
        raise invalid(f"Invalid JSON payload received. {reason}") from None


def to_json(message: Any, *, pretty: bool, enum_numbers: bool) -> bytes:
    """Write a protobuf message as JSON in lowerCamelCase; fields with their default value are left out.

    Args:
        message: The message.
        pretty: Indents it.
        enum_numbers: Writes enums as numbers.
    """
    value = json_format.MessageToDict(message, use_integers_for_enums=enum_numbers)
    return json.dumps(value, indent=2 if pretty else None, ensure_ascii=False).encode() + b"\n"


def nest(parameters: Mapping[str, str]) -> dict[str, Any]:
    """Turn query parameters with dotted names into nested JSON.

    Raises:
        StatusError: INVALID_ARGUMENT: one name goes through another.
    """
    tree: dict[str, Any] = {}
    for name, value in parameters.items():
        *parents, last = name.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise invalid(f"Invalid query parameter {name[:100]!r}.")
        node[last] = value
    return tree


def error_json(error: StatusError, *, status: int) -> bytes:
    """Return a refusal in the REST form, details included.

    Args:
        error: The refusal.
        status: Its HTTP status.
    """
    content: dict[str, Any] = {"code": status, "message": error.message, "status": error.code.name}
    if error.details:
        content["details"] = [
            {"@type": f"type.googleapis.com/{detail.DESCRIPTOR.full_name}", **json_format.MessageToDict(detail)}
            for detail in error.details
        ]
    return json.dumps({"error": content}, indent=2, ensure_ascii=False).encode() + b"\n"


def _with_camel_mask(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Rewrite a mask of snake_case paths: the service takes both spellings, json_format only the other."""
    for name in ("updateMask", "update_mask"):
        mask = fields.get(name)
        if isinstance(mask, str) and "_" in mask:
            return {**fields, name: _MASK_UNDERSCORE.sub(lambda found: found[1].upper(), mask)}
    return fields


def _check_base64(value: Any, descriptor: Descriptor, path: str, depth: int) -> None:
    """Refuse bytes that are not base64, which json_format decodes to something."""
    if not isinstance(value, Mapping) or depth > _MAX_DEPTH:
        return  # json_format says what is wrong
    for key, item in value.items():
        field = _field(descriptor, key)
        if field is None or item is None:
            continue
        place = f"{path}{key}"
        items = item if field.is_repeated and isinstance(item, list) else [item]
        for one in items:
            if field.type == FieldDescriptor.TYPE_BYTES:
                if isinstance(one, str) and not _is_base64(one):
                    raise invalid(f"Invalid value at '{place}' (TYPE_BYTES), Base64 decoding failed.")
            elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
                _check_base64(one, field.message_type, f"{place}.", depth + 1)


def _field(descriptor: Descriptor, key: str) -> FieldDescriptor | None:
    field: FieldDescriptor | None = descriptor.fields_by_name.get(key) or descriptor.fields_by_camelcase_name.get(key)
    return field


def _is_base64(text: str) -> bool:
    """Return whether a text is base64, standard or URL-safe, with or without its padding."""
    standard = text.rstrip("=").translate(_URL_SAFE)
    try:
        base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


_URL_SAFE = str.maketrans("-_", "+/")
