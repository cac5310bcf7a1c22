"""Payloads that pipeline.toml declares: of schedules and of triggers."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import AfterValidator


def _json_object(value: dict[str, Any]) -> dict[str, Any]:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        raise ValueError("holds what JSON can't: write dates and times as strings, and no nan or inf") from None
    return value


#: Fields of a payload, as TOML writes them and JSON holds them.
DeclaredPayload = Annotated[dict[str, Any], AfterValidator(_json_object)]
