"""The e2e cases of a project: those of the modules that pipeline.toml names under `e2e`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from poolhouse.local.e2e.case import Case
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.imports import import_module


@dataclass(frozen=True, kw_only=True)
class File:
    """A file that is uploaded before the cases run."""

    data: bytes
    content_type: str


class Cases(Protocol):
    """What a module of cases has. All but `cases` may be left out."""

    #: Task types whose every operation or step must have run: the names that a list in the payload may hold.
    EVERY_KIND_OF: Sequence[str] = ()
    #: Names of the cases of `e2e --quick`; left out: all of them.
    QUICK: frozenset[str]

    def files(self) -> Mapping[str, File]:
        """Return the files to upload, by name: the run uploads each as `RUN/NAME`."""

    def cases(self, run: str, *, queues: Sequence[str]) -> list[Case]:
        """Return the cases of one run.

        Args:
            run: a name of its own for each run, and the folder of its files.
            queues: the names of the queues, the one of the highest priority first.
        """


@dataclass(frozen=True, kw_only=True)
class Project:
    """The cases of all modules."""

    modules: tuple[Cases, ...]

    def files(self) -> dict[str, File]:
        """The files of all modules."""
        return {
            name: file for module in self.modules if hasattr(module, "files") for name, file in module.files().items()
        }

    def cases(self, run: str, *, queues: Sequence[str]) -> list[Case]:
        """The cases of all modules."""
        return [case for module in self.modules for case in module.cases(run, queues=queues)]

    def quick(self) -> frozenset[str]:
        """The names of the cases of a quick run; all, where a module names none."""
        return frozenset(
            name
            for module in self.modules
            for name in getattr(module, "QUICK", [case.name for case in module.cases("run", queues=["default"])])
        )

    def every_kind_of(self) -> frozenset[str]:
        """The task types whose every operation or step must have run."""
        return frozenset(name for module in self.modules for name in getattr(module, "EVERY_KIND_OF", ()))


def load(names: Iterable[str]) -> Project:
    """Import the modules.

    Raises:
        ConfigError: one can't be imported, or has no function `cases`.
    """
    modules = []
    for name in names:
        module = import_module(name, named_by="e2e in pipeline.toml")
        if not callable(getattr(module, "cases", None)):
            raise ConfigError(f"e2e in pipeline.toml: {name} has no function cases(run, *, queues)")
        modules.append(module)
    return Project(modules=tuple(modules))
