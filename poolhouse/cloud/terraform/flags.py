"""The flags of the commands that make a resource: every one has to be read, so that none is missing in Terraform."""

from __future__ import annotations

import json
from collections.abc import Mapping

from poolhouse.cloud.errors import CloudError
from poolhouse.cloud.resource import Json, Resource
from poolhouse.cloud.terraform.declaration import Declaration


class Flags:
    """The flags of all commands that make a resource, of which each is read by name.

    Args:
        resource: the resource.
    """

    def __init__(self, resource: Resource) -> None:
        """Take the commands apart."""
        self._id = resource.id
        self._values: dict[str, str] = {}
        self._files: dict[str, str] = {}
        self._arguments: list[str] = []
        self._declaration: Declaration | None = None
        # What is never absent, such as the notifications of a bucket, is made by its update.
        for command in resource.create or resource.update(None):
            self._files.update(command.files)
            for word in command.arguments:
                if word.startswith("--"):
                    name, _, value = word[2:].partition("=")
                    self._values[name] = value
                elif word.startswith("{file:"):
                    self._arguments.append(_file(word))

    def text(self, name: str) -> str:
        """The value of a flag. Raises `CloudError` where the commands do not have it."""
        try:
            return self._values.pop(name)
        except KeyError:
            raise CloudError(
                f"{self._id}: no command of the deploy has --{name}, which its Terraform form needs."
            ) from None

    def optional(self, name: str) -> str:
        """The value of a flag; empty where the commands do not have it."""
        return self._values.pop(name, "")

    def seconds(self, name: str) -> int:
        """A flag such as `30s`."""
        return round(float(self.text(name).removesuffix("s")))

    def switch(self, name: str) -> bool:
        """Whether it says `--NAME`; not where it says `--no-NAME`, or neither."""
        if self._values.pop(f"no-{name}", None) is not None:
            return False
        return self._values.pop(name, None) is not None

    def refused(self, name: str) -> bool:
        """Whether it says `--no-NAME`; not where it says `--NAME`, or neither."""
        self._values.pop(name, None)
        return self._values.pop(f"no-{name}", None) is not None

    def pairs(self, name: str) -> Mapping[str, str]:
        """A flag such as `KEY=VALUE,KEY=VALUE`, with a separator of its own where it begins with one."""
        value, separator = self.optional(name), ","
        if value.startswith("^"):
            _, separator, value = value.split("^", 2)
        return dict(part.split("=", 1) for part in value.split(separator)) if value else {}

    def file(self, flag: str) -> str:
        """The text of the file that a flag names."""
        return self._files.pop(_file(self.text(flag)))

    def json(self, flag: str) -> Json:
        """The same of a file of JSON."""
        return json.loads(self.file(flag))

    def declaration(self) -> Declaration:
        """The file that declares the resource. Raises `CloudError` unless the commands take one file."""
        if len(self._arguments) != 1:
            raise CloudError(f"{self._id}: its Terraform form needs a command that takes one file: {self._arguments}.")
        self._declaration = Declaration(self._files.pop(self._arguments.pop()), self._id)
        return self._declaration

    def ignore(self, *names: str) -> None:
        """Pass over flags that have no counterpart: of gcloud itself, or what is the provider's default."""
        for name in names:
            self._values.pop(name, None)

    def check(self) -> None:
        """Raise `CloudError` where flags were not read: what they ask for would be missing in Terraform."""
        if self._declaration is not None:
            self._declaration.check()
        if self._values:
            names = ", ".join(f"--{name}" for name in sorted(self._values))
            raise CloudError(f"{self._id}: no Terraform form for {names} in poolhouse/cloud/terraform/forms/.")


def _file(word: str) -> str:
    """The name of the file that a word of a command stands for."""
    return word.removeprefix("{file:").removesuffix("}")
