"""JSON answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response


def json_answer(content: Any, status: int = 200, *, headers: Mapping[str, str] | None = None) -> Response:
    """An answer whose body is `content` as JSON. States change: it must not be cached."""
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
    return Response(
        body, status, headers={"cache-control": "no-store", **(headers or {})}, media_type="application/json"
    )
