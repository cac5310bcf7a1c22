"""A file that declares a resource: every value has to be read, so that none is missing in Terraform."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from poolhouse.cloud.errors import CloudError
from poolhouse.cloud.resource import Json

_MISSING = object()


class Declaration:
    """The values of a file of JSON, of which each is read by its path.

    Args:
        text: the file.
        id_: id of the resource.
    """

    def __init__(self, text: str, id_: str) -> None:
        """Parse it."""
        self._tree: Json = json.loads(text)
        self._id = id_

    def take(self, *path: str | int, default: Any = _MISSING) -> Any:
        """The value at a path, all that is in it included.

        Args:
            path: names of fields, and places in lists.
            default: what to return where there is none.

        Raises:
            CloudError: there is none, and no default.
        """
        *way, last = path
        found = self._tree
        for step in way:
            found = found.get(step, {}) if isinstance(found, dict) else found[step]
        if isinstance(found, dict) and last in found:
            return found.pop(last)
        if default is not _MISSING:
            return default
        raise CloudError(f"{self._id}: its declaration has no {_shown(path)}, which its Terraform form needs.")

    def check(self) -> None:
        """Raise `CloudError` where values were not read: what they ask for would be missing in Terraform."""
        left = ", ".join(_shown(path) for path in _leaves(self._tree, ()))
        if left:
            raise CloudError(f"{self._id}: no Terraform form for {left} in poolhouse/cloud/terraform/forms/.")


def _leaves(tree: Json, path: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    if isinstance(tree, dict | list):
        for step, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from _leaves(value, (*path, step))
    else:
        yield path


def _shown(path: tuple[str | int, ...]) -> str:
    return ".".join(map(str, path))
