"""Resource names: `projects/PROJECT/KIND/ID`, checked by the service's rules.

Source: the `name` fields of google/pubsub/v1/pubsub.proto and schema.proto.
"""

from __future__ import annotations

import re
from functools import lru_cache

from poolhouse_pubsub.status import invalid

#: Stands in a subscription for a topic that was deleted.
DELETED_TOPIC = "_deleted-topic_"
#: Stands in a topic's schema settings for a schema that was deleted.
DELETED_SCHEMA = "_deleted-schema_"

_ID = re.compile(r"[A-Za-z][A-Za-z0-9\-_.~+%]{2,254}", re.ASCII)
_REVISION = re.compile(r"[0-9a-f]{8}", re.ASCII)


@lru_cache(maxsize=16_384)
def _valid(name: str, kind: str) -> bool:
    parts = name.split("/")
    return (
        len(parts) == 4
        and parts[0] == "projects"
        and parts[1] != ""
        and parts[2] == kind
        and _ID.fullmatch(parts[3]) is not None
        and not parts[3].startswith("goog")
    )


def check(name: str, kind: str) -> str:
    """Return `name` when it is a well-formed name of that kind (`topics`, `subscriptions`, `snapshots`, `schemas`).

    Raises:
        StatusError: INVALID_ARGUMENT, with the rule.
    """
    if not _valid(name, kind):
        shown = name if len(name) <= 300 else name[:300] + "…"
        raise invalid(
            f"Invalid [{kind}] name: (name={shown}). It is projects/PROJECT/{kind}/ID; the ID has 3 to 255 characters, "
            "starts with a letter, not with goog, and goes on with letters, digits and - _ . ~ + %."
        )
    return name


def check_schema(name: str) -> tuple[str, str]:
    """Split `projects/P/schemas/ID[@REVISION]` into name and revision id, "" when it has none.

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    base, at, revision = name.partition("@")
    check(base, "schemas")
    if at and not _REVISION.fullmatch(revision):
        raise invalid(f"Invalid revision id (name={name[:300]}): a revision is 8 hexadecimal digits.")
    return base, revision


def check_project(name: str) -> str:
    """Return `name` when it is `projects/PROJECT`.

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    head, slash, project = name.partition("/")
    if head != "projects" or not slash or not project or "/" in project:
        raise invalid(f"Invalid project name: (name={name[:300]}). It is projects/PROJECT.")
    return name


def project_of(name: str) -> str:
    """Return the project id inside a full resource name."""
    return name.split("/", 2)[1]


def id_of(name: str) -> str:
    """Return the last part of a full resource name."""
    return name.rpartition("/")[2]
