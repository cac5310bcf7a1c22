"""What a person chooses at a deploy, beyond pipeline.toml; and the names that follow from it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from poolhouse.pipeline.errors import ConfigError

#: Label (or, where a kind has none, mark in the description) of all that a deploy makes.
LABEL = "poolhouse"
#: Accounts by purpose, with the words that describe them.
ACCOUNTS: Mapping[str, str] = {
    "api": "takes tasks and publishes them",
    "worker": "runs tasks",
    "dead-letters": "keeps dead letters",
    "scheduler": "calls the API and starts jobs at their times",
    "builder": "builds the image",
}
#: Made with `--autoscale` alone.
AUTOSCALER = {"autoscaler": "sets the number of worker instances"}

_PROJECT = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]")
_REGION = re.compile(r"[a-z]+-[a-z]+[0-9]+")


@dataclass(frozen=True, kw_only=True)
class Options:
    """The choices of one deploy.

    Args (fields):
        project: id of the Google Cloud project.
        region: where all regional resources go.
        name: the pipeline's name, prefix of every resource.
        workers: `pool`, instances that run all the time; `job`, started every minute, gone when its queue is empty.
        public: whether the API answers callers without a token.
        autoscale: whether worker pools follow their backlog.
        channel: full name of a notification channel for the alerts; empty: alerts show on the console alone.
        origins: web origins that browsers may upload from.
        api_cpu: vCPUs of an API instance.
        api_memory_mib: memory of an API instance, in MiB.
        api_concurrency: requests that one API instance takes at a time.
        api_min_instances: API instances kept warm.
        api_max_instances: most API instances.
    """

    project: str
    region: str = "europe-west1"
    name: str = "poolhouse"
    workers: Literal["pool", "job"] = "pool"
    public: bool = False
    autoscale: bool = False
    channel: str = ""
    origins: tuple[str, ...] = ()
    api_cpu: float = 1
    api_memory_mib: int = 512
    api_concurrency: int = 80
    api_min_instances: int = 0
    api_max_instances: int = 10

    def __post_init__(self) -> None:
        """Refuse what gcloud would refuse later, one call at a time."""
        if not _PROJECT.fullmatch(self.project):
            raise ConfigError(
                f"--project {self.project!r}: a project id has 6 to 30 lowercase letters, digits and -, starts with a "
                "letter and does not end with -. `gcloud projects list` shows yours (the id, not the name or number)."
            )
        if not _REGION.fullmatch(self.region):
            raise ConfigError(f"--region {self.region!r}: regions read like europe-west1 (`gcloud run regions list`).")
        if len(self.name) > 16:
            raise ConfigError(
                f"the pipeline's name {self.name!r} is too long for Google Cloud: service account ids have at most 30 "
                "characters, so a name has at most 16. Change `name` in pipeline.toml."
            )
        if self.autoscale and self.workers == "job":
            raise ConfigError("--autoscale is for --workers pool: jobs start with their queue and end with it anyway.")
        if self.api_min_instances > self.api_max_instances:
            raise ConfigError(
                f"api_min_instances ({self.api_min_instances}) is above api_max_instances ({self.api_max_instances})"
            )

    @property
    def labels(self) -> Mapping[str, str]:
        """Labels of every resource that can have some."""
        return {LABEL: self.name}

    @property
    def mark(self) -> str:
        """How the description of a resource that can't have labels ends."""
        return f"[{LABEL}={self.name}]"

    @property
    def accounts(self) -> Mapping[str, str]:
        """Purpose and description of each service account of this deploy."""
        return {**ACCOUNTS, **AUTOSCALER} if self.autoscale else ACCOUNTS

    def account(self, purpose: str) -> str:
        """E-mail address of a service account."""
        return f"{self.name}-{purpose}@{self.project}.iam.gserviceaccount.com"

    def member(self, purpose: str) -> str:
        """A service account as policies write it."""
        return f"serviceAccount:{self.account(purpose)}"

    @property
    def bucket(self) -> str:
        """Name of the bucket: bucket names are global, project ids are too."""
        return f"{self.project}-{self.name}"

    @property
    def build_bucket(self) -> str:
        """Name of the bucket for the sources and logs of builds."""
        return f"{self.project}-{self.name}-build"

    @property
    def buckets(self) -> tuple[str, str]:
        """Names of both buckets."""
        return self.bucket, self.build_bucket

    @property
    def repository(self) -> str:
        """Image path without tag or digest."""
        return f"{self.region}-docker.pkg.dev/{self.project}/{self.name}/{self.name}"

    @property
    def api_service(self) -> str:
        """Name of the API's Cloud Run service."""
        return f"{self.name}-api"

    def api_url(self, project_number: str) -> str:
        """The service's fixed URL (Cloud Run, deterministic URLs)."""
        return f"https://{self.api_service}-{project_number}.{self.region}.run.app"
