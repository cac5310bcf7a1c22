"""The deployed console: `[console]` of pipeline.toml, and what of it the console itself reads."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from poolhouse.pipeline.config.base import Table

#: The variable that carries a `ConsoleAccess` to a deployed console, as JSON.
ACCESS_VARIABLE = "CONSOLE_ACCESS"
#: What follows the kind of a member, as IAM writes them (IAM, Principal identifiers).
_ADDRESS = r"[^\s:,@]+@[a-z0-9-]+(\.[a-z0-9-]+)+"
_DOMAIN = r"[a-z0-9-]+(\.[a-z0-9-]+)+"
_MEMBER = rf"^((user|group|serviceAccount):{_ADDRESS}|domain:{_DOMAIN})$"


def _no_group(member: str) -> str:
    if member.startswith("group:"):
        raise ValueError(
            f"{member} can be among the viewers only: a signed-in person is known by address and domain, never by "
            "groups, so the console can't tell who of a group may act. Name operators as user:, serviceAccount: or "
            "domain:"
        )
    return member


Viewer = Annotated[str, Field(pattern=_MEMBER)]
Operator = Annotated[Viewer, AfterValidator(_no_group)]


class Console(Table):
    """The console as a Cloud Run service behind Identity-Aware Proxy; without the table there is none."""

    #: Whether a deploy makes it.
    deploy: bool = False
    #: Who may look: `user:`, `group:`, `serviceAccount:` and `domain:`, as IAM writes them.
    viewers: tuple[Viewer, ...] = Field(default=(), max_length=100)
    #: Who may also act: `user:`, `serviceAccount:` and `domain:`; no groups, since nothing tells the console who is in
    #: one.
    operators: tuple[Operator, ...] = Field(default=(), max_length=100)

    @property
    def members(self) -> tuple[str, ...]:
        """All who may open it, each once."""
        return tuple(dict.fromkeys((*self.viewers, *self.operators)))

    @model_validator(mode="after")
    def _opens_for_someone(self) -> Self:
        if self.deploy and not self.members:
            raise ValueError(
                'deploy = true lets nobody in: name viewers or operators, such as operators = ["user:ann@example.com"]'
            )
        return self


class ConsoleAccess(Table):
    """What a deployed console is told."""

    #: The audience of the assertions that Identity-Aware Proxy signs for this service.
    audience: str = Field(min_length=1)
    #: Who may act; everyone else whom the proxy lets in may look.
    operators: tuple[Operator, ...] = ()
    #: Finds the deployment's lines in Cloud Logging.
    log_filter: str
    #: Whether its spans go to Cloud Trace.
    cloud_trace: bool = False
