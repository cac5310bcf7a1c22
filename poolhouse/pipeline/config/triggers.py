"""`[triggers.NAME]` of pipeline.toml: files that start tasks."""

from __future__ import annotations

from typing import Self

from pydantic import Field, field_validator, model_validator

from poolhouse.pipeline import names
from poolhouse.pipeline.config.base import Name, Table
from poolhouse.pipeline.config.payload import DeclaredPayload


class Trigger(Table):
    """A task for each file that is uploaded: an object below `uploads/`, once for each version of it."""

    #: Name of the trigger, from the table's name.
    name: Name
    #: Beginning of the names of its objects, such as `uploads/img/`.
    prefix: str = names.UPLOADS
    #: End of the names of its objects, such as `.jpg`; upper case is another one.
    suffix: str = ""
    #: Task type to submit.
    task_type: str = Field(min_length=1)
    #: Queue of the task; unset: `default` where it is declared, else the first.
    queue: str | None = None
    #: Field of the payload that gets the file's name, without `uploads/`.
    field: str = Field(default="filename", min_length=1)
    #: The other fields of the payload.
    payload: DeclaredPayload = Field(default_factory=dict)

    @field_validator("prefix")
    @classmethod
    def _below_uploads(cls, value: str) -> str:
        # Elsewhere it would be handlers that write, and tasks that start tasks without an end.
        if not value.startswith(names.UPLOADS):
            raise ValueError(f"begins with {names.UPLOADS}: what clients upload starts tasks, and nothing else")
        return value

    @model_validator(mode="after")
    def _field_is_free(self) -> Self:
        if self.field in self.payload:
            raise ValueError(f"payload has {self.field}, the field that gets the file's name: `field` names another")
        return self

    def takes(self, name: str) -> bool:
        """Whether an object of that name starts a task."""
        # Browsers of buckets make a folder by an empty object whose name ends with a slash.
        return name.startswith(self.prefix) and name.endswith(self.suffix) and not name.endswith("/")
