"""Tags that are bound to a resource when it is made: checked, and never shown again, since they are input only.

Sources: Topic.tags in google/pubsub/v1/pubsub.proto, and Tags overview of Resource Manager.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from poolhouse_pubsub.status import invalid

#: Most tags of a resource.
MAX_TAGS: Final = 50

_SHORT_NAME: Final = r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,254}[A-Za-z0-9])?"
_KEY: Final = re.compile(rf"tagKeys/[0-9]+|[A-Za-z0-9:.-]+/{_SHORT_NAME}")
_VALUE: Final = re.compile(rf"tagValues/[0-9]+|{_SHORT_NAME}")


def check_tags(tags: Mapping[str, str]) -> None:
    """Check tags: `PARENT/KEY` (an organization's number or a project) and a value, or both by their permanent ids.

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    if len(tags) > MAX_TAGS:
        raise invalid(f"Too many tags: {len(tags)}; a resource has at most {MAX_TAGS}.")
    for key, value in tags.items():
        if not _KEY.fullmatch(key):
            raise invalid(f"Invalid tag key {key[:100]!r}: it is PARENT/KEY, such as 123/environment, or tagKeys/ID.")
        if not _VALUE.fullmatch(value):
            raise invalid(f"Invalid value {value[:100]!r} of tag {key!r}: it is the name of a value, or tagValues/ID.")
