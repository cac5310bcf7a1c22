"""What a person chooses about a deploy: `[deploy]` of pipeline.toml. Nothing here is read by a running process."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from poolhouse.pipeline.config.api_access import ApiKey, PerMinute, Scope
from poolhouse.pipeline.config.base import Name, Table

Region = Annotated[str, Field(pattern=r"^[a-z]+-[a-z]+[0-9]+$")]


class Api(Table):
    """The API's instances."""

    #: vCPUs of an instance.
    cpu: Literal[1, 2, 4, 6, 8] = 1
    #: Memory of an instance, in MiB.
    memory_mib: int = Field(default=512, ge=512, le=32_768)
    #: Requests that an instance takes at a time.
    concurrency: int = Field(default=80, ge=1, le=1000)
    #: Instances kept warm.
    min_instances: int = Field(default=0, ge=0, le=1000)
    #: Most instances.
    max_instances: int = Field(default=10, ge=1, le=1000)

    @model_validator(mode="after")
    def _least_before_most(self) -> Self:
        if self.min_instances > self.max_instances:
            raise ValueError(f"min_instances ({self.min_instances}) is above max_instances ({self.max_instances})")
        return self


class Deploy(Table):
    """Where a pipeline goes on Google Cloud, and how."""

    #: Id of the project; where it is left out, `--project` names it.
    project: str = ""
    #: Where all regional resources go.
    region: Region = "europe-west1"
    #: Where the image is built: some projects may not build everywhere (Cloud Build, Restricted regions).
    build_region: Region | None = None
    #: `pool`: instances that run all the time; `job`: started at intervals, gone when their queue is empty.
    workers: Literal["pool", "job"] = "pool"
    #: Minutes between two starts of a queue's job: a part of the hour, so that all starts are as far apart.
    job_minutes: Literal[1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30] = 1
    #: Whether worker pools follow their backlog, to none and back.
    autoscale: bool = False
    #: Who may call the API. `none`: accounts that Cloud Run lets in (`roles/run.invoker`). With the others everybody
    #: reaches it, and what needs no key is: nothing (`keys`), reading (`read`), submitting (`submit`), everything
    #: (`all`).
    public: Literal["none", "keys", "read", "submit", "all"] = "none"
    #: The API's keys, by the names of their holders; `./invoke new-key` makes one.
    keys: dict[Name, ApiKey] = Field(default_factory=dict)
    #: Most calls in a minute of all callers without a key together, of each instance of the API; left out: any number.
    anonymous_per_minute: PerMinute | None = None
    #: Notification channel of the alerts; empty: they show on the console alone.
    channel: str = Field(default="", pattern=r"^(projects/[^/]+/notificationChannels/[0-9]+)?$")
    #: Web origins that browsers may upload from, such as `https://app.example.com`.
    origins: tuple[Annotated[str, Field(pattern=r"^(\*|https?://[^/\s]+)$")], ...] = ()
    #: Size and number of the API's instances.
    api: Api = Api()

    @property
    def anonymous(self) -> Scope | None:
        """What a caller without a key may do, where the API checks."""
        match self.public:
            case "read" | "submit":
                return self.public
            case "all":
                return "operate"
            case _:
                return None

    @property
    def checks_callers(self) -> bool:
        """Whether the API itself checks who calls."""
        return self.public in ("keys", "read", "submit") or bool(self.keys) or self.anonymous_per_minute is not None

    @model_validator(mode="after")
    def _keys_open_something(self) -> Self:
        if self.public == "none" and self.checks_callers:
            raise ValueError(
                'keys and anonymous_per_minute are for an API that everybody can reach: set public = "keys", or leave '
                "them out (Cloud Run lets accounts in, and no others)"
            )
        if self.public == "keys" and not self.keys:
            raise ValueError('public = "keys" lets nobody in without keys: ./invoke new-key NAME makes one')
        if len({key.sha256 for key in self.keys.values()}) < len(self.keys):
            raise ValueError("two keys have the same sha256: make one key for each holder")
        return self

    @model_validator(mode="after")
    def _pools_scale(self) -> Self:
        if self.autoscale and self.workers == "job":
            raise ValueError('autoscale is for workers = "pool": jobs start with their queue and end with it anyway')
        return self
