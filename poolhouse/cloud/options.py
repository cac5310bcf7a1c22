"""Where one stage of a pipeline goes, as `[deploy]` of pipeline.toml says; and the names that follow from it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from poolhouse.pipeline.config.api_access import ApiAccess
from poolhouse.pipeline.config.console_options import Console
from poolhouse.pipeline.config.deploy_options import Api, Vpc
from poolhouse.pipeline.config.topology import Topology
from poolhouse.pipeline.errors import ConfigError

#: Label (or, where a kind has none, mark in the description) of all that a deploy makes.
LABEL = "poolhouse"
#: Accounts by purpose, with their descriptions.
ACCOUNTS: Mapping[str, str] = {
    "api": "takes tasks and publishes them",
    "worker": "runs tasks",
    "dead-letters": "keeps dead letters",
    "scheduler": "calls the API and starts jobs at their times",
    "builder": "builds the image",
}
#: Made with `autoscale = true` alone.
AUTOSCALER = {"autoscaler": "sets the number of worker instances"}
#: Made with a deployed console alone.
CONSOLE = {"console": "shows the console, and acts for its operators"}
#: Whatever a deploy has ever made.
ALL_ACCOUNTS = (*ACCOUNTS, *AUTOSCALER, *CONSOLE)

_PROJECT = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]")
_REGION = re.compile(r"[a-z]+-[a-z]+[0-9]+")


@dataclass(frozen=True, kw_only=True)
class Options:
    """The choices of one deploy."""

    #: Id of the Google Cloud project.
    project: str
    #: Where all regional resources go.
    region: str = "europe-west1"
    #: The stage's name, prefix of every resource.
    name: str = "poolhouse"
    #: Prefix of the service accounts; the name, but for previews, which share theirs; empty: the name.
    family: str = ""
    #: What `--stage` named; passed on to the containers.
    stage: str = ""
    #: Where the image is built; empty: `region`.
    build_region: str = ""
    #: `pool`, instances that run all the time; `job`, started at intervals, gone when its queue is empty.
    workers: Literal["pool", "job"] = "pool"
    #: Minutes between two starts of a queue's job.
    job_minutes: int = 1
    #: Whether everybody can reach the API.
    public: bool = False
    #: The rules of the API's own check of its callers; None: it has none.
    access: ApiAccess | None = None
    #: Whether worker pools follow their backlog.
    autoscale: bool = False
    #: Full name of a notification channel for the alerts; empty: alerts show on the console alone.
    channel: str = ""
    #: Whether the pipeline has secrets.
    secrets: bool = False
    #: Web origins that browsers may upload from.
    origins: tuple[str, ...] = ()
    #: The network that API, workers and jobs send to.
    vpc: Vpc | None = None
    #: Cloud SQL instances that API and workers connect to, each as `PROJECT:REGION:NAME`.
    cloud_sql: tuple[str, ...] = ()
    #: Parts that send spans to Cloud Trace, by the names of their accounts.
    cloud_trace: tuple[str, ...] = ()
    #: Roles on the project that workers have beyond those of every worker.
    worker_roles: tuple[str, ...] = ()
    #: By purpose, the e-mail addresses of accounts that exist, in the place of those that a deploy makes.
    own_accounts: Mapping[str, str] = field(default_factory=dict)
    #: Full name of the Cloud KMS key of buckets and topics; empty: Google's own keys.
    kms_key: str = ""
    #: Further labels of every resource that can have some.
    own_labels: Mapping[str, str] = field(default_factory=dict)
    #: Size and number of the API's instances.
    api: Api = field(default_factory=Api)
    #: Who may open the deployed console, and who may act there; None: there is none.
    console: Console | None = None

    @classmethod
    def declared(cls, topology: Topology, *, project: str = "") -> Options:
        """The options of a stage.

        Args:
            topology: pipeline.toml, for that stage.
            project: id of the project, where it is another than the declared one.

        Raises:
            ConfigError: no project is named, or what is named can't be one.
        """
        deploy, stage = topology.deploy, topology.stage
        rules = ApiAccess(
            anonymous=deploy.anonymous,
            anonymous_per_minute=deploy.anonymous_per_minute,
            anonymous_per_day=deploy.anonymous_per_day,
            share_rates=deploy.share_rates,
            keys=deploy.keys,
        )
        project = project or deploy.project
        if not project:
            raise ConfigError("no project: name it by --project, or by `project` under [deploy] in pipeline.toml.")
        return cls(
            project=project,
            region=deploy.region,
            name=topology.name,
            family=stage.family,
            stage=stage.name,
            build_region=deploy.build_region or "",
            workers=deploy.workers,
            job_minutes=deploy.job_minutes,
            public=deploy.public != "none",
            access=rules if deploy.checks_callers else None,
            autoscale=deploy.autoscale,
            channel=deploy.channel,
            secrets=bool(topology.all_secrets),
            origins=deploy.origins,
            vpc=deploy.vpc,
            cloud_sql=tuple(name if ":" in name else f"{project}:{deploy.region}:{name}" for name in deploy.cloud_sql),
            cloud_trace=parts_with_cloud_trace(topology),
            worker_roles=deploy.worker_roles,
            own_accounts={name.replace("_", "-"): email for name, email in deploy.accounts if email is not None},
            kms_key=deploy.kms_key or "",
            own_labels=deploy.labels,
            api=deploy.api,
            console=topology.console if topology.console.deploy else None,
        )

    def __post_init__(self) -> None:
        """Refuse what gcloud would refuse later, one call at a time."""
        if not _PROJECT.fullmatch(self.project):
            raise ConfigError(
                f"--project {self.project!r}: a project id has 6 to 30 lowercase letters, digits and -, starts with a "
                "letter and does not end with -. `gcloud projects list` shows yours (the id, not the name or number)."
            )
        if not _REGION.fullmatch(self.region):
            raise ConfigError(f"region {self.region!r}: regions read like europe-west1 (`gcloud run regions list`).")
        if len(self.identity) > 17 or len(self.name) > 25:
            raise ConfigError(
                f"the name {self.name!r} is too long for Google Cloud: service account ids have at most 30 characters, "
                "so a pipeline's name has at most 17 (that of a preview 25). Change `name` in pipeline.toml, or give "
                "the stage a shorter one."
            )
        made = {self.made_account(purpose) for purpose in (*ALL_ACCOUNTS, "deployer")}
        for purpose, email in self.own_accounts.items():
            if email in made:
                raise ConfigError(
                    f"deploy.accounts.{purpose.replace('-', '_')}: {email} is what a deploy calls an account that it "
                    "makes, and that `destroy` deletes: leave it out, or name another."
                )
        if self.autoscale and self.workers == "job":
            raise ConfigError('autoscale is for workers = "pool": jobs start with their queue and end with it anyway.')

    @property
    def own_cloud_sql(self) -> bool:
        """Whether a Cloud SQL instance is in the project itself, where a deploy can grant access to it."""
        return any(name.startswith(f"{self.project}:") for name in self.cloud_sql)

    @property
    def identity(self) -> str:
        """Prefix of the service accounts."""
        return self.family or self.name

    @property
    def shares_accounts(self) -> bool:
        """Whether other deployments use the same service accounts."""
        return self.identity != self.name

    @property
    def labels(self) -> Mapping[str, str]:
        """Labels of every resource that can have some."""
        return {LABEL: self.name, **self.own_labels}

    @property
    def mark(self) -> str:
        """How the description of a resource that can't have labels ends."""
        return f"[{LABEL}={self.name}]"

    @property
    def account_mark(self) -> str:
        """The same of a service account: shared ones are none of a single deployment's."""
        return f"[{LABEL}={self.identity}]"

    @property
    def accounts(self) -> Mapping[str, str]:
        """Purpose and description of each service account of this deploy."""
        return {**ACCOUNTS, **(AUTOSCALER if self.autoscale else {}), **(CONSOLE if self.console else {})}

    def account_id(self, purpose: str) -> str:
        """Id of a service account that a deploy makes."""
        return f"{self.identity}-{purpose}"

    def made_account(self, purpose: str) -> str:
        """E-mail address of a service account that a deploy makes."""
        return f"{self.account_id(purpose)}@{self.project}.iam.gserviceaccount.com"

    def account(self, purpose: str) -> str:
        """E-mail address of the service account of a part."""
        return self.own_accounts.get(purpose) or self.made_account(purpose)

    def account_name(self, purpose: str) -> str:
        """Name of the same in a plan: the id of one that a deploy makes; the address of any other."""
        return self.own_accounts.get(purpose) or self.account_id(purpose)

    def account_path(self, purpose: str) -> str:
        """Full name of the same."""
        email = self.account(purpose)
        return f"projects/{project_of(email)}/serviceAccounts/{email}"

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

    @property
    def console_service(self) -> str:
        """Name of the deployed console's Cloud Run service."""
        return f"{self.name}-console"

    def api_url(self, project_number: str) -> str:
        """Where the API is."""
        return self.service_url(self.api_service, project_number)

    def console_url(self, project_number: str) -> str:
        """Where the deployed console is."""
        return self.service_url(self.console_service, project_number)

    def service_url(self, service: str, project_number: str) -> str:
        """The fixed URL of a service (Cloud Run, deterministic URLs)."""
        return f"https://{service}-{project_number}.{self.region}.run.app"


def project_of(email: str) -> str:
    """The project of a service account; one of a domain as `DOMAIN:PROJECT`."""
    project, _, domain = email.partition("@")[2].removesuffix(".iam.gserviceaccount.com").partition(".")
    return f"{domain}:{project}" if domain else project


def parts_with_cloud_trace(topology: Topology) -> tuple[str, ...]:
    """The parts whose TRACES_EXPORTER is Cloud Trace, by the names of their accounts."""
    everywhere, of_queues = _has_cloud_trace(topology.env), [topology.env_of(queue) for queue in topology.queues]
    # The job that keeps dead letters runs with the variables of all.
    parts = {"api": everywhere, "worker": any(map(_has_cloud_trace, of_queues)), "dead-letters": everywhere}
    return tuple(part for part, sends in parts.items() if sends)


def _has_cloud_trace(env: Mapping[str, str]) -> bool:
    return env.get("TRACES_EXPORTER") == "cloud_trace"
