"""How many resources a project and a topic may have."""

from collections.abc import Collection

from poolhouse_pubsub.status import Code, StatusError


def limit_project(resources: Collection[str], prefix: str, most: int, kind: str) -> None:
    """Refuses one resource more than a project may have.

    Args:
        resources: Full names of all there are.
        prefix: `projects/PROJECT/`.
        most: The limit.
        kind: What they are, in the plural.

    Raises:
        StatusError: RESOURCE_EXHAUSTED.
    """
    if len(resources) >= most and sum(name.startswith(prefix) for name in resources) >= most:
        raise StatusError(Code.RESOURCE_EXHAUSTED, f"A project has at most {most} {kind}.")


def limit_topic(resources: Collection[str], most: int, kind: str) -> None:
    """Refuses one resource more than a topic may have.

    Raises:
        StatusError: RESOURCE_EXHAUSTED.
    """
    if len(resources) >= most:
        raise StatusError(Code.RESOURCE_EXHAUSTED, f"A topic has at most {most} {kind}.")
