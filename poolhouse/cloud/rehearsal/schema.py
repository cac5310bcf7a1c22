"""Strict checks of request bodies: an unknown field or a value outside its range is a 400, as with Google's APIs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from poolhouse.cloud.rehearsal.http import ApiError

#: Checks a value; the path names it in errors.
Check = Callable[[Any, str], None]
#: An object's fields; a nested mapping is a nested object.
Spec = Mapping[str, Any]


def check(value: Any, spec: Check | Spec, path: str = "") -> None:
    """Check a body against what its API knows. Raises `ApiError` (400) that names the field."""
    if callable(spec):
        spec(value, path)
        return
    if not isinstance(value, dict):
        raise _wrong(path, "must be an object")
    for name, child in value.items():
        if name not in spec:
            where = f" at '{path}'" if path else ""
            raise ApiError(
                "INVALID_ARGUMENT", f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot find field.'
            )
        check(child, spec[name], f"{path}.{name}" if path else name)


def required(body: Mapping[str, Any], *names: str) -> None:
    """Check that fields are there and not empty. Raises `ApiError` (400)."""
    for name in names:
        if body.get(name) in (None, "", [], {}):
            raise _wrong(name, "is required")


def text(pattern: str = r"[\s\S]*", *, longest: int = 100_000) -> Check:
    """A string that matches a pattern as a whole."""

    def run(value: Any, path: str) -> None:
        if not isinstance(value, str) or len(value) > longest or not re.fullmatch(pattern, value):
            raise _wrong(path, f"{value!r} does not match {pattern}")

    return run


def whole(least: int, most: int) -> Check:
    """A whole number, as a number or (as protobuf's JSON has 64-bit ones) a string."""

    def run(value: Any, path: str) -> None:
        try:
            number = int(value)
        except (TypeError, ValueError):
            raise _wrong(path, f"{value!r} is no whole number") from None
        if isinstance(value, bool) or not least <= number <= most:
            raise _wrong(path, f"{number} is not in [{least}, {most}]")

    return run


def duration(least_s: float, most_s: float) -> Check:
    """A duration such as `30s`."""

    def run(value: Any, path: str) -> None:
        if not isinstance(value, str) or not re.fullmatch(r"\d+(\.\d+)?s", value):
            raise _wrong(path, f"{value!r} is no duration such as 30s")
        if not least_s <= float(value[:-1]) <= most_s:
            raise _wrong(path, f"{value} is not in [{least_s:g}s, {most_s:g}s]")

    return run


def boolean(value: Any, path: str) -> None:
    """True or false."""
    if not isinstance(value, bool):
        raise _wrong(path, f"{value!r} is no boolean")


def number(value: Any, path: str) -> None:
    """Any number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(path, f"{value!r} is no number")


def anything(value: Any, path: str) -> None:
    """A field that the service fills in and ignores in requests."""


def one_of(*allowed: str) -> Check:
    """One of some words."""

    def run(value: Any, path: str) -> None:
        if value not in allowed:
            raise _wrong(path, f"{value!r} is none of {', '.join(allowed)}")

    return run


def list_of(item: Check | Spec, *, most: int = 1000) -> Check:
    """A list."""

    def run(value: Any, path: str) -> None:
        if not isinstance(value, list) or len(value) > most:
            raise _wrong(path, f"must be a list of at most {most}")
        for index, entry in enumerate(value):
            check(entry, item, f"{path}[{index}]")

    return run


def map_of(item: Check | Spec, *, keys: str = r"[\s\S]+") -> Check:
    """An object with any keys that match a pattern."""

    def run(value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise _wrong(path, "must be an object")
        for name, entry in value.items():
            if not re.fullmatch(keys, name):
                raise _wrong(path, f"{name!r} does not match {keys}")
            check(entry, item, f"{path}.{name}")

    return run


#: Google Cloud, Labels: lower-case letters, digits, - and _; keys start with a letter; at most 63 characters.
LABELS = map_of(text(r"[a-z0-9_-]{0,63}"), keys=r"[a-z][a-z0-9_-]{0,62}")


def _wrong(path: str, message: str) -> ApiError:
    return ApiError("INVALID_ARGUMENT", f"Invalid value at '{path}': {message}")
