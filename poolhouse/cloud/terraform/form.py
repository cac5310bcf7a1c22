"""What a kind's form gets, and what it gives."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from poolhouse.cloud.options import Options, project_of
from poolhouse.cloud.resource import Json, Resource
from poolhouse.cloud.terraform.flags import Flags
from poolhouse.cloud.terraform.hcl import Block, Expression, Template, Value

#: Stands for the project's number, which only the project itself knows: between marks that no declaration has.
PROJECT_NUMBER = "\ue000project number\ue001"
_NUMBER = Expression("data.google_project.this.number")


def nowhere(raw: Json) -> Mapping[str, str]:
    """The imports of what Terraform can't import, or need not."""
    return {}


@dataclass(frozen=True)
class Piece:
    """One block of a resource."""

    block: Block
    #: By the end of the block's address (empty, or a key in brackets), the id under which what exists is imported;
    #: from what the resource's read printed. Asked only where the resource is there.
    imports: Callable[[Json], Mapping[str, str]] = nowhere


@dataclass(frozen=True)
class Context:
    """The deployment that is written."""

    options: Options
    #: Addresses by the ids of resources.
    addresses: Mapping[str, Expression]

    def of(self, kind: str, name: str) -> Expression:
        """The address of another resource."""
        return self.addresses[f"{kind}/{name}"]

    def service_account(self, email: str) -> Expression:
        """The address of a service account's block."""
        return self.of("account", email if self.is_own(email) else email.partition("@")[0])

    def account(self, email: str) -> Expression:
        """The e-mail address of a service account, as an attribute of its block."""
        return self.service_account(email).email

    def is_own(self, email: str) -> bool:
        """Whether pipeline.toml names the account."""
        return email in self.options.own_accounts.values()

    def account_path(self, name: str) -> str:
        """The full name of a service account, by its name in the plan."""
        email = name if self.is_own(name) else f"{name}@{self.options.project}.iam.gserviceaccount.com"
        return f"projects/{project_of(email)}/serviceAccounts/{email}"

    def text(self, given: str) -> Value:
        """A string, in which the project's number is asked of the project."""
        first, *rest = given.split(PROJECT_NUMBER)
        parts = [first, *(part for text in rest for part in (_NUMBER, text))]
        return Template(tuple(parts)) if rest else given

    def path(self, *segments: str) -> str:
        """A full name in the project."""
        return "/".join(("projects", self.options.project, *segments))

    def regional(self, *segments: str) -> str:
        """A full name in the region."""
        return self.path("locations", self.options.region, *segments)


#: Writes a resource whose address is in the context.
Write = Callable[[Resource, Flags, Context], Iterator[Piece]]


@dataclass(frozen=True)
class Form:
    """How a kind is written."""

    #: Type of its block, for references to it; empty for what has several.
    type: str
    #: The file, without its ending.
    file: str
    write: Write


def resource(address: Expression, attributes: Mapping[str, Value], *blocks: Block) -> Block:
    """The block of a resource at an address."""
    return Block("resource", tuple(address.text.split(".")), attributes, blocks)


def imported(id_: str) -> Callable[[Json], Mapping[str, str]]:
    """The import of a block with an id that is known by name."""
    return lambda raw: {"": id_}


def label(name: str) -> str:
    """A name as identifiers are written."""
    found = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    return found if found[:1].isalpha() else f"_{found}"


@dataclass
class Labels:
    """Labels that are given once for each type."""

    _given: set[tuple[str, str]] = field(default_factory=set)

    def give(self, type_: str, name: str) -> Expression:
        """The address of a block of that type; a number is appended where the name is taken."""
        wanted, number = label(name), 1
        found = wanted
        while (type_, found) in self._given:
            number += 1
            found = f"{wanted}_{number}"
        self._given.add((type_, found))
        return Expression(f"{type_}.{found}")
