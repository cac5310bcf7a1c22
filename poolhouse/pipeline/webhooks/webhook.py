"""The webhook of a task type."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from poolhouse.pipeline.webhooks.urls import check_url

End = Literal["succeeded", "failed", "dead", "cancelled"]


class Webhook(BaseModel):
    """Call a URL when a task has ended: `@task("resize", on_complete=Webhook(url="https://shop.example/hooks"))`.

    Raises:
        ValueError: the URL can't be one of a webhook.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    #: The ends that are sent.
    on: tuple[End, ...] = Field(default=("succeeded", "failed", "dead", "cancelled"), min_length=1)

    @field_validator("url")
    @classmethod
    def _url(cls, value: str) -> str:
        check_url(value)
        return value
