"""Resources by their full name, counted by project: a limit is checked without looking through them."""

from __future__ import annotations

from collections import Counter
from typing import Any, TypeVar

from poolhouse_pubsub import names

_T = TypeVar("_T")


class Resources(dict[str, _T]):
    """A dict from full names to resources of one kind, empty at first."""

    def __init__(self) -> None:
        super().__init__()
        self._counts: Counter[str] = Counter()

    def count(self, project: str) -> int:
        """How many there are in a project, by its id."""
        return self._counts[project]

    def __setitem__(self, name: str, resource: _T) -> None:
        if name not in self:
            self._counts[names.project_of(name)] += 1
        super().__setitem__(name, resource)

    def __delitem__(self, name: str) -> None:
        super().__delitem__(name)
        self._counts[names.project_of(name)] -= 1

    def pop(self, name: str, *default: Any) -> Any:
        """See `dict.pop`."""
        if name in self:
            self._counts[names.project_of(name)] -= 1
        return super().pop(name, *default)

    def clear(self) -> None:
        """See `dict.clear`."""
        self._counts.clear()
        super().clear()
