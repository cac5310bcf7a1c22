"""Payload models and their JSON: what a model is sent as, and what a payload lacks that only its model can make."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import AliasChoices, BaseModel
from pydantic.fields import FieldInfo

#: Default factories that always make the same.
_EMPTY = (list, dict, set, frozenset, tuple)


def check_kind(payload: object) -> None:
    """Raise `TypeError` for a payload that is neither a model nor a mapping."""
    if not isinstance(payload, BaseModel | Mapping):
        raise TypeError(f"a payload is a model or a mapping of its fields, not {type(payload).__name__}")


def sent(payload: BaseModel) -> dict[str, Any]:
    """The model as JSON values.

    Raises:
        ValueError: a field that would not come back equal, such as a `SecretStr`, which is dumped as asterisks.
    """
    fields = _as_read(payload, payload.model_dump(mode="json", by_alias=False, round_trip=True))
    try:
        other = _difference(payload, type(payload).model_validate(fields))
        problem = f"field {other} is another after its way as JSON"
    except Exception as error:  # noqa: BLE001 - whatever a validator raises on what it has made itself
        other, problem = "", f"what it is as JSON is refused: {error}"
    if other is not None:
        raise ValueError(f"{type(payload).__name__}: {problem}; submit a mapping of JSON values instead of the model")
    return dict(fields)


def makes_values(model: type[BaseModel], *, _seen: frozenset[Any] = frozenset()) -> bool:
    """Whether a default factory of the model, or of one inside it, may make another value each time."""
    if model in _seen:
        return False
    return any(
        _makes_value(field) or any(makes_values(inner, _seen=_seen | {model}) for inner in _models(field.annotation))
        for field in model.model_fields.values()
    )


def completed(model: BaseModel, payload: Mapping[str, Any]) -> dict[str, Any]:
    """The payload with the values that default factories have made for its model.

    One that can't be written as JSON, such as a secret, stays out.
    """
    fields = dict(payload)
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        key = _key(name, field)
        if name not in model.model_fields_set:
            if not _makes_value(field):
                continue
            dumped = model.model_dump(mode="json", include={name}, round_trip=True, by_alias=False)
            with_value = {**fields, key: dumped.get(name)}
            try:
                same = getattr(type(model).model_validate(with_value), name) == value
            except Exception:  # noqa: BLE001 - whatever a validator raises on what a factory has made
                same = False
            if same:
                fields = with_value
        elif isinstance(value, BaseModel) and isinstance(fields.get(key), Mapping):
            fields[key] = completed(value, fields[key])
    return fields


def _as_read(value: Any, dumped: Any) -> Any:
    """What was dumped under the fields' own names, under the names that validation reads."""
    if isinstance(value, BaseModel) and isinstance(dumped, dict):
        fields = type(value).model_fields
        return {
            _key(name, fields[name]) if name in fields else name: _as_read(getattr(value, name, None), part)
            for name, part in dumped.items()
        }
    if isinstance(value, list | tuple) and isinstance(dumped, list):
        return [_as_read(each, part) for each, part in zip(value, dumped, strict=True)]
    if isinstance(value, Mapping) and isinstance(dumped, dict):
        return {name: _as_read(value.get(name), part) for name, part in dumped.items()}
    return dumped


def _key(name: str, field: FieldInfo) -> str:
    alias = field.validation_alias
    if isinstance(alias, AliasChoices):
        alias = alias.choices[0]
    return alias if isinstance(alias, str) else name


def _makes_value(field: FieldInfo) -> bool:
    return field.default_factory is not None and field.default_factory not in _EMPTY


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models(argument)]


def _difference(one: BaseModel, other: BaseModel) -> str | None:
    """The path of the first field that differs."""
    for name in type(one).model_fields:
        a, b = getattr(one, name), getattr(other, name, None)
        if isinstance(a, BaseModel) and isinstance(b, type(a)):
            inner = _difference(a, b)
            if inner is not None:
                return f"{name}.{inner}"
        elif a != b:
            return name
    return None if one.model_extra == other.model_extra else ", ".join(one.model_extra or {})
