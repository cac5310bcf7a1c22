"""How many resources a project and a topic may have."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from poolhouse_pubsub.resources import Resources
from poolhouse_pubsub.status import Code, StatusError


def limit_project(resources: Resources[Any], project: str, most: int, kind: str) -> None:
    """Refuse one resource more than a project may have.

    Args:
        resources: All there are.
        project: Id of the project.
        most: The limit.
        kind: What they are, in the plural.

    Raises:
        StatusError: RESOURCE_EXHAUSTED.
    """
    if resources.count(project) >= most:
        raise StatusError(Code.RESOURCE_EXHAUSTED, f"A project has at most {most} {kind}.")


def limit_topic(resources: Collection[str], most: int, kind: str) -> None:
    """Refuse one resource more than a topic may have.

    Raises:
        StatusError: RESOURCE_EXHAUSTED.
    """
    if len(resources) >= most:
        raise StatusError(Code.RESOURCE_EXHAUSTED, f"A topic has at most {most} {kind}.")
