"""Revisions of services and worker pools: when there is a new one, and which shares they can have."""

from __future__ import annotations

import copy
from collections.abc import Iterable

from poolhouse.cloud.rehearsal.http import ApiError
from poolhouse.cloud.rehearsal.state import Json, State


def newest(state: State, owner: str, template: Json, *, region: str) -> str:
    """Return the name of the newest revision: a new one where the template is another than before.

    Args:
        state: where revisions are kept.
        owner: full name of the service or pool.
        template: with its `spec`, as the v1 API has it.
        region: where it is.
    """
    resource = owner.rpartition("/")[2]
    known = state.revisions.setdefault(owner, {})
    last = next(reversed(known), "")
    if last and known[last]["template"] == template:
        return last
    name = f"{resource}-{len(known) + 1:05d}-reh"
    known[name] = {
        "template": copy.deepcopy(template),
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Revision",
        "metadata": {
            "name": name,
            "namespace": state.project,
            "labels": {"serving.knative.dev/service": resource, "cloud.googleapis.com/location": region},
            "creationTimestamp": state.now(),
        },
        "spec": copy.deepcopy(template["spec"]),
        "status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": state.now()}]},
    }
    return name


def listed(state: State, prefix: str, *, selector: str) -> list[Json]:
    """Return the revisions of the services whose full names begin so, newest first, as far as a label selects them."""
    key, _, value = (part.strip() for part in selector.partition("="))
    found = [
        {name: part for name, part in revision.items() if name != "template"}
        for owner, revisions in state.revisions.items()
        if owner.startswith(prefix)
        for revision in revisions.values()
    ]
    return [item for item in reversed(found) if not key or item["metadata"]["labels"].get(key) == value]


def check_shares(state: State, owner: str, percent: Iterable[int], named: Iterable[str]) -> None:
    """Check that shares add up, and go to revisions that are there. Raises `ApiError`."""
    if sum(percent) != 100:
        raise ApiError("INVALID_ARGUMENT", "the percentages of revisions must add up to 100")
    for name in named:
        if name not in state.revisions.get(owner, {}):
            raise ApiError("INVALID_ARGUMENT", f"Revision '{name}' of {owner.rpartition('/')[2]} does not exist.")
