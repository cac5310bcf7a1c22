"""What a call needs of who makes it. Pure: by method and path, before anything of the call is read."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Literal

from poolhouse.pipeline.config.api_access import Scope

#: `nothing`: everybody may. `any`: any scope is enough. `due`: to operate, or to be the deployment's own scheduler.
Need = Scope | Literal["nothing", "any", "due"]

_READING = frozenset({"GET", "HEAD"})
#: Asked by whatever watches the process.
_HEALTH = frozenset({"/health", "/ready"})
#: Who has a key, and how much each calls.
_CALLERS = "/quotas"
#: Of one task or group: its id is made by the API, and can't be guessed. And what the API can do.
_FOLLOWING = re.compile(r"/tasks/[^/]+(/result|/events)?|/groups/[^/]+|/openapi\.json|/docs(/.*)?")
#: Calls of an application's own that submit tasks begin so.
_SUBMITTING = re.compile(r"/submit-[^/]+|/tasks|/tasks:batch|/files|/groups|/groups/[^/]+:(add|close)")
_DUE = re.compile(r"/schedules/[^/]+:due")


def need(method: str, path: str) -> Need:
    """Return what a call needs; one that is not known needs the most.

    Args:
        method: the HTTP method, upper case.
        path: decoded, as routes see it.
    """
    if method == "OPTIONS" or (method in _READING and path in _HEALTH):
        return "nothing"
    if method in _READING and path != _CALLERS:
        return "any" if _FOLLOWING.fullmatch(path) else "read"
    if method == "POST" and _SUBMITTING.fullmatch(path):
        return "submit"
    return "due" if method == "POST" and _DUE.fullmatch(path) else "operate"


def met(wanted: Need, held: Collection[Scope]) -> bool:
    """Whether a caller with these scopes may make a call."""
    return wanted == "nothing" or "operate" in held or wanted in held or (wanted == "any" and bool(held))
