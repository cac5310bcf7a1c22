"""Text and values that are kept for good: cleaned, or refused, before they are written.

What is kept in a record, a dead letter or a message must be readable by every reader of it. So whatever a handler
returns, raises, reports or submits passes one of two functions here: `clean_text` for text that people read, which
always succeeds, and `encode` for values that programs read, which changes none silently: it refuses, and says where.
`decode` reads these again.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Container, Iterator, Mapping
from contextlib import suppress
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import from_json, to_json, to_jsonable_python

from poolhouse.pipeline import secret_values
from poolhouse.pipeline.errors import InvalidValue

#: Deepest nesting of a value. Readers stop at about 200 levels (pydantic), and a record adds some of its own.
MAX_DEPTH = 100
#: Characters kept of a text that is meant for people, such as a reason or an error message.
TEXT_CHARACTERS = 2000
_KINDS = {
    dict: "an object",
    list: "an array",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "a boolean",
    type(None): "null",
}
#: Values looked at when the place of a mistake is looked for.
_SEARCHED = 100_000
#: A key that may have been another value than text before: the cheap sign of it in what was encoded.
_CONVERTED_KEY = re.compile(rb'"(?:-?[0-9][^"\\]*|-?Infinity|NaN|true|false|null)":')
_T = TypeVar("_T")
#: Control characters but tab and line feed (C0, DEL, C1), and the line separators of Unicode.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


def clean_text(
    value: object,
    *,
    limit: int = TEXT_CHARACTERS,
    one_line: bool = False,
    tail: bool = False,
    masked: bool = True,
) -> str:
    r"""Return text that can be written, read again and shown on a terminal.

    Control characters (escape sequences among them) and lone surrogates (of file names that are not UTF-8) are replaced
    by their Python escapes, such as `\x1b`; values of secrets by `[secret NAME]`.

    Args:
        value: text, or anything that `str` takes; an error whose own text can't be made is named by its type.
        limit: characters kept.
        one_line: whether line breaks and tabs become spaces: for headers and listings.
        tail: whether the end is kept where the text is too long, instead of the beginning.
        masked: whether values of secrets are replaced: not in what programs read, such as names.
    """
    try:
        text = value if type(value) is str else str(value)
    except BaseException as error:  # noqa: BLE001 - user code: `__str__` of an error may raise anything, sys.exit() too
        text = f"(its text can't be read: __str__ raised {type(error).__name__})"
    if masked:
        text = secret_values.known.mask(text)  # before it is cut: half a value would not be found
    text = _cut(text, limit, tail=tail).encode("utf-8", "backslashreplace").decode()
    text = _CONTROL.sub(_escape, text.replace("\r\n", "\n"))
    if one_line:
        text = " ".join(text.split())
    return _cut(text, limit, tail=tail)


def _cut(text: str, limit: int, *, tail: bool) -> str:
    return text[-limit:] if tail else text[:limit]


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def encode(value: object, *, what: str) -> bytes:
    """Return a value as JSON.

    What JSON has no form for but a common notation is converted as pydantic does: models, dates and times,
    `Decimal`, UUID, sets, UTF-8 bytes.

    Args:
        what: the name of the value, for the error.

    Raises:
        InvalidValue: JSON has no form for it (nan, a lone surrogate, some object), or it is nested too deeply; the text
            names the place.
    """
    try:
        plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
        by_pydantic = False
        try:
            encoded = _dumps(plain)
        except (TypeError, ValueError, RecursionError):
            by_pydantic = True
            encoded = _dumps(to_jsonable_python(plain, by_alias=False))
        if (by_pydantic or _CONVERTED_KEY.search(encoded)) and (place := _merged_key(value, what)):
            raise InvalidValue(place)
        if encoded.count(b"[") + encoded.count(b"{") > MAX_DEPTH and too_deep(from_json(encoded)):
            raise InvalidValue(f"{what} is nested deeper than {MAX_DEPTH} levels")
        return encoded
    except InvalidValue:
        raise
    except Exception as error:  # noqa: BLE001 - user code: serializers and iterators may raise anything
        place = _misfit(value, what, most=_SEARCHED)
        raise InvalidValue(
            clean_text(place or f"{what} can't be kept as JSON: {clean_text(error, limit=300)}")
        ) from None


def adapter(annotation: Any) -> TypeAdapter[Any]:
    """Return what `decode` reads a result as; as it is, where pydantic does not know the type."""
    try:
        return TypeAdapter(annotation)
    except PydanticUserError:
        return TypeAdapter(Any)


def decode(data: bytes, as_type: TypeAdapter[_T]) -> _T:
    """Return what `encode` wrote, read as a type: models by the names of their fields or by aliases.

    Computed fields are in the JSON for people and other programs; a model that forbids unknown fields is read without.

    Raises:
        ValidationError: it is another type.
    """
    try:
        return as_type.validate_json(data, by_alias=True, by_name=True)
    except ValidationError as error:
        value = from_json(data)
        if not _drop_computed(value, error, set(_computed(as_type.core_schema))):
            raise
        with suppress(ValidationError):
            return as_type.validate_json(to_json(value), by_alias=True, by_name=True)
        raise


def kind(value: object) -> str:
    """Return what JSON calls a parsed value, for messages: `an array`, `null`."""
    return _KINDS[type(value)]


def too_deep(value: object, *, limit: int = MAX_DEPTH) -> bool:
    """Return whether lists and objects are nested deeper than `limit` levels."""
    level: list[Any] = [value] if isinstance(value, dict | list) else []
    for _ in range(limit):
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True


def parse(data: bytes) -> Any:
    """Return the value of a JSON document that can also be written again and kept.

    Raises:
        ValueError: not JSON in UTF-8; or NaN, infinity, a lone surrogate, an integer of thousands of digits, or nesting
            beyond `MAX_DEPTH`.
    """
    value = from_json(data.removeprefix(b"\xef\xbb\xbf"), allow_inf_nan=False)
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH and too_deep(value):
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
    # A number beyond the range of floats reads as infinity. To write the value again is the fastest way to see one.
    if b"Infinity" in to_json(value, inf_nan_mode="constants") and (
        place := _misfit(value, "the body", most=len(data))
    ):
        raise ValueError(place)
    return value


def _computed(schema: object) -> Iterator[str]:
    """The names of the computed fields of all models in a schema of pydantic's."""
    if isinstance(schema, Mapping):
        yield from (field["property_name"] for field in schema.get("computed_fields", ()))
        for part in schema.values():
            yield from _computed(part)
    elif isinstance(schema, list | tuple):
        for part in schema:
            yield from _computed(part)


def _drop_computed(value: Any, error: ValidationError, computed: Container[object]) -> bool:
    """Take the computed fields out that were refused; returns whether there were any."""
    found = False
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        *path, name = problem["loc"] or ("",)
        if problem["type"] != "extra_forbidden" or name not in computed:
            continue
        place = value
        for part in path:
            with suppress(LookupError, TypeError):  # the name of an alternative
                place = place[part]
        found |= isinstance(place, dict) and place.pop(name, place) is not place
    return found


def _dumps(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _merged_key(value: object, what: str) -> str | None:
    """Return where two keys of a mapping are one in JSON, whose keys are text: the value of one would be gone."""
    waiting: list[tuple[str, object]] = [(what, value)]
    while waiting:
        path, found = waiting.pop()
        if isinstance(found, BaseModel):
            found = dict(found)
        if isinstance(found, Mapping):
            if any(type(key) is not str for key in found):
                written = Counter(map(_key, found))
                key, times = written.most_common(1)[0]
                if times > 1:
                    return clean_text(f"{path} has keys that are all {key!r} in JSON, which would keep one of them")
            waiting += [(f"{path}.{clean_text(key, limit=100)}", item) for key, item in found.items()]
        elif isinstance(found, list | tuple):
            waiting += [(f"{path}.{index}", item) for index, item in enumerate(found)]
    return None


def _key(key: object) -> str:
    try:
        return str(next(iter(json.loads(_dumps({key: None})))))
    except (TypeError, ValueError):
        return str(next(iter(to_jsonable_python({key: None}))))


def _misfit(value: object, what: str, *, most: int) -> str | None:
    """Return what is wrong with the first value that JSON has no form for, and where; None if none of `most` is."""
    waiting: list[tuple[str, object, tuple[int, ...]]] = [(what, value, ())]
    for _ in range(most + 1):
        if not waiting:
            return None
        path, found, above = waiting.pop()
        if isinstance(found, BaseModel):
            found = dict(found)
        if isinstance(found, float) and not math.isfinite(found):
            return f"{path} is {found}, which JSON has no form for"
        if isinstance(found, str):
            if not found.isascii() and any("\ud800" <= character <= "\udfff" for character in found):
                return f"{path} is text with a lone surrogate, which has no UTF-8"
        elif isinstance(found, Mapping | list | tuple | set | frozenset):
            if id(found) in above:
                return f"{path} contains itself"
            if len(above) > MAX_DEPTH:
                return f"{what} is nested deeper than {MAX_DEPTH} levels"
            items = found.items() if isinstance(found, Mapping) else enumerate(found)
            within = (*above, id(found))
            waiting += reversed([(f"{path}.{clean_text(key, limit=100)}", item, within) for key, item in items])
        elif not _plain(found):
            return f"{path} is a {type(found).__module__}.{type(found).__qualname__}, which JSON has no form for"
    return None


def _plain(value: object) -> bool:
    try:
        to_jsonable_python(value)
    except Exception:  # noqa: BLE001 - as above
        return False
    return True


def _text(value: object) -> object:
    return clean_text(value) if isinstance(value, str) else value


def _traceback(value: object) -> object:
    return clean_text(value, limit=10_000, tail=True) if isinstance(value, str) else value


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


#: Fields of models that hold text for people.
Text = Annotated[str, BeforeValidator(_text)]
Traceback = Annotated[str, BeforeValidator(_traceback)]
#: A figure that may be unknown, as nan and infinity are.
Figure = Annotated[float | None, BeforeValidator(_finite)]
