"""Suggestions for misspelt names."""

from __future__ import annotations

from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ` Did you mean 'greet'?`, with the space, for the known name that is nearest; empty if none is near."""
    from difflib import get_close_matches  # noqa: PLC0415 - only a mistake pays for it

    near = get_close_matches(name, [str(each) for each in known], n=1, cutoff=0.7)
    return f" Did you mean {near[0]!r}?" if near else ""
