"""What `invoke e2e` submits to the whole stack, and what must come of it."""

from __future__ import annotations

from collections.abc import Sequence

from poolhouse.local.e2e.case import Case, all_of, one, result, succeeded


def cases(run: str, *, queues: Sequence[str]) -> list[Case]:
    """Return the cases of one run; `run` is a name that no other run has."""
    return [
        Case(
            name="greeting",
            through="/submit-greeting",
            submit=one("/submit-greeting", {"name": run}),
            check=all_of(succeeded(), result({"greeting": f"Hello, {run}!"})),
        ),
    ]
