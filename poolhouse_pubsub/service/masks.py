"""Updates by field mask, sub-paths included."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from poolhouse_pubsub.status import invalid


def apply(target: Any, source: Any, paths: Collection[str], *, mutable: Collection[str]) -> set[str]:
    """Set the masked fields of `target` to what they are in `source`; an unset one returns to its default.

    Args:
        target: The message that is changed.
        source: A message of the same type.
        paths: Paths of the mask, in snake_case.
        mutable: Top-level fields that may change.

    Returns:
        The top-level fields that were named.

    Raises:
        StatusError: INVALID_ARGUMENT: an empty mask, an unknown or an immutable path.
    """
    if not paths:
        raise invalid("The update_mask in the request must be specified and not empty.")
    kind = target.DESCRIPTOR.name
    for path in paths:
        parts = path.split(".")
        descriptor = target.DESCRIPTOR
        for depth, part in enumerate(parts):
            field = descriptor.fields_by_name.get(part) if descriptor is not None else None
            if field is None:
                raise invalid(f"Invalid update_mask: '{path[:200]}' is not a known {kind} field.")
            if depth == 0 and part not in mutable:
                raise invalid(f"Invalid update_mask: field '{part}' of {kind} is immutable or set by the server.")
            descriptor = None if field.is_repeated else field.message_type
    for path in paths:
        _copy(target, source, path.split("."))
    return {path.split(".")[0] for path in paths}


def _copy(target: Any, source: Any, parts: list[str]) -> None:
    for part in parts[:-1]:
        if not source.HasField(part) and not target.HasField(part):
            return
        target, source = getattr(target, part), getattr(source, part)
    name = parts[-1]
    field = target.DESCRIPTOR.fields_by_name[name]
    target.ClearField(name)
    if field.is_repeated or field.message_type is not None:
        if field.is_repeated or source.HasField(name):
            if field.message_type is not None and field.message_type.GetOptions().map_entry:
                _copy_map(target, source, name)
            elif field.is_repeated:
                getattr(target, name).extend(getattr(source, name))
            else:
                getattr(target, name).CopyFrom(getattr(source, name))
    elif not field.has_presence or source.HasField(name):
        setattr(target, name, getattr(source, name))


def _copy_map(target: Any, source: Any, name: str) -> None:
    into = getattr(target, name)
    for key, value in getattr(source, name).items():
        into[key] = value
