"""The fixtures of our own tests are those that users get."""

from __future__ import annotations

pytest_plugins = ["poolhouse.testing.plugin"]

#: Characters of a name of a test that come from one text parameter.
_NAMED = 60


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name a long text by its beginning and its size: processes send names to each other, and children inherit them."""
    if isinstance(val, str | bytes) and len(val) > _NAMED:
        beginning = val[:_NAMED] if isinstance(val, str) else val[:_NAMED].decode("latin-1")
        return f"{beginning}…{len(val)}".encode("unicode_escape").decode("ascii")
    return None
