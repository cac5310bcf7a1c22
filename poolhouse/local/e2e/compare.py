"""Comparing what came out with what was expected."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_MISSING = object()


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any], where: str = "") -> list[str]:
    """What is missing or other than wanted, a line each; floats may differ in the last digits."""
    lines: list[str] = []
    for key, value in wanted.items():
        path = f"{where}.{key}" if where else str(key)
        other = found.get(key, _MISSING)
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            lines += differences(other, value, path)
        elif not same(other, value):
            lines.append(f"{path}: {'missing' if other is _MISSING else repr(other)}, expected {value!r}")
    return lines


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same; floats may differ in the last digits."""
    if isinstance(one, float) or isinstance(other, float):
        try:
            return math.isclose(float(one), float(other), rel_tol=1e-9, abs_tol=1e-12)
        except (TypeError, ValueError):
            return False
    return bool(one == other)
