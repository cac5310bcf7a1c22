"""What a deploy is made of: resources that say how they are read, compared, made, changed and removed."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

#: Anything that `gcloud … --format=json` prints.
Json = Any
#: One compared field. Lists are tuples, sorted where their order means nothing.
Value = str | int | float | bool | None | tuple[str, ...]
Fields = Mapping[str, Value]


@dataclass(frozen=True, kw_only=True)
class Change:
    """One field that is not as wanted."""

    field: str
    before: Value
    after: Value


def compare(wanted: Fields, present: Fields) -> tuple[Change, ...]:
    """The fields that differ, those that should be gone included."""
    names = [*wanted, *(name for name in present if name not in wanted)]
    return tuple(
        Change(field=name, before=present.get(name), after=wanted.get(name))
        for name in names
        if present.get(name) != wanted.get(name) and (name in wanted or present[name] not in {None, ()})
    )


#: Stands in a command for the image's digest while the image is not built yet.
IMAGE = "{image}"


@dataclass(frozen=True, kw_only=True)
class Command:
    """One gcloud command line, without the word gcloud.

    `files` are handed over as temporary files: a word that holds `{file:NAME}` gets the path of file NAME.
    """

    arguments: tuple[str, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    #: From its message, the arguments of the command that prints the reason of a failure; None: the message has it.
    reason: Callable[[str], tuple[str, ...] | None] | None = None

    def shown(self) -> str:
        """The command as a person would type it, with the files by their names."""
        arguments = [
            word.replace("{file:", "").replace("}", "") if "{file:" in word else word for word in self.arguments
        ]
        return shlex.join(["gcloud", *arguments])


def command(*arguments: str, files: Mapping[str, str] | None = None) -> Command:
    """Return a `Command` from its arguments."""
    return Command(arguments=arguments, files=files or {})


@dataclass(frozen=True, kw_only=True)
class Read:
    """How a resource's present state is read."""

    #: The gcloud command, without `--format=json`. Resources with the same arguments share one call.
    arguments: tuple[str, ...]
    #: The API that must be enabled; while it is not, the resource is absent without asking.
    api: str
    #: Id of the resource that must exist first; while it does not, this one is absent without asking.
    needs: str | None = None
    #: Whether what can't be read counts as absent.
    optional: bool = False


def read(*arguments: str, api: str, needs: str | None = None) -> Read:
    """Return a `Read` from its arguments."""
    return Read(arguments=arguments, api=f"{api}.googleapis.com", needs=needs)


def nothing(raw: Json) -> tuple[Command, ...]:
    """The update of a resource that has nothing to change."""
    return ()


@dataclass(frozen=True, kw_only=True)
class Resource:
    """One thing that a deploy wants to be there, and as it should be."""

    #: The word for it in the plan.
    kind: str
    #: Its id within its kind.
    name: str
    #: Fields to compare; the plan shows them by these names.
    wanted: Fields
    #: How its state is read.
    read: Read
    #: The same fields out of what `read` printed; None where the resource is not there.
    observe: Callable[[Json], Fields | None]
    #: Commands that make it.
    create: tuple[Command, ...]
    #: Commands that make it as wanted, from what `read` printed.
    update: Callable[[Json], tuple[Command, ...]] = nothing
    #: Ids of resources that must be in place first.
    after: tuple[str, ...] = ()
    #: Where a deploy can't make it: what to do while it is not there. Then the plan is refused.
    absent: str = ""
    #: Where a deploy goes on without it: what to say when it can't be made. Empty: that ends the deploy.
    without: str = ""
    #: Whether others change it at any time: it is read again just before an update.
    moving: bool = False
    #: Fields that can't change once it is there, with what to do instead.
    fixed: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Kind and name: unique in a plan."""
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """Something that a deploy of this pipeline made, found by its label: for destroy, or since it is not wanted now."""

    kind: str
    name: str
    delete: tuple[Command, ...]

    @property
    def id(self) -> str:
        """As `Resource.id`."""
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True, kw_only=True)
class LeftoverQuery:
    """How everything of one kind that this pipeline made is found: by its label, or by its description."""

    kind: str
    read: Read
    find: Callable[[Json], tuple[Leftover, ...]]


def entry(listing: Json, key: str, value: str) -> Json:
    """The entry of a listing whose `key` (a name or a path) ends in `value`; None where there is none."""
    for item in listing or ():
        if str(item.get(key, "")).rpartition("/")[2] == value:
            return item
    return None


def flag(name: str, value: object) -> str:
    """`--name=value`."""
    return f"--{name}={value}"


def pairs(values: Mapping[str, str]) -> str:
    """A mapping as gcloud's `KEY=VALUE` list, with a separator that no value holds (gcloud topic escaping)."""
    if not any("," in value for value in values.values()):
        return ",".join(f"{key}={value}" for key, value in values.items())
    separator = next(mark for mark in ("@", "|", "#", "~~") if not any(mark in value for value in values.values()))
    return f"^{separator}^" + separator.join(f"{key}={value}" for key, value in values.items())
