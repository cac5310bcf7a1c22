"""What a person chooses about a deploy: `[deploy]` of pipeline.toml. Nothing here is read by a running process."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from poolhouse.pipeline.config.api_access import ApiKey, PerDay, PerMinute, Scope
from poolhouse.pipeline.config.base import Name, Table

Region = Annotated[str, Field(pattern=r"^[a-z]+-[a-z]+[0-9]+$")]
#: What networks, subnets and network tags are called (Compute Engine, Naming resources).
_RESOURCE = r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?"
NetworkName = Annotated[str, Field(pattern=rf"^(projects/[a-z0-9.:-]+/global/networks/)?{_RESOURCE}$")]
SubnetName = Annotated[str, Field(pattern=rf"^(projects/[a-z0-9.:-]+/regions/[a-z0-9-]+/subnetworks/)?{_RESOURCE}$")]
NetworkTag = Annotated[str, Field(pattern=rf"^{_RESOURCE}$")]


def _no_basic_role(role: str) -> str:
    if role in {"roles/owner", "roles/editor", "roles/viewer"}:
        raise ValueError(f"{role} reaches everything in the project: name the roles that handlers need")
    return role


Role = Annotated[
    str,
    Field(pattern=r"^(roles/[A-Za-z][A-Za-z.]*|(projects|organizations)/[a-z0-9.:-]+/roles/[A-Za-z0-9_.]+)$"),
    AfterValidator(_no_basic_role),
]
KmsKey = Annotated[
    str, Field(pattern=r"^projects/[a-z0-9.:-]+/locations/[a-z0-9-]+/keyRings/[\w-]{1,63}/cryptoKeys/[\w-]{1,63}$")
]
#: Of a user-managed account (IAM, Types of service accounts).
ServiceAccount = Annotated[
    str,
    Field(
        pattern=r"^[a-z][a-z0-9-]{4,28}[a-z0-9]@[a-z][a-z0-9-]{4,28}[a-z0-9](\.[a-z0-9-]+)*\.iam\.gserviceaccount\.com$"
    ),
]
#: Project, region and name; the name alone means the deploy's own project and region.
CloudSqlInstance = Annotated[str, Field(pattern=r"^([a-z0-9.:-]+:[a-z0-9-]+:)?[a-z][a-z0-9-]{0,96}$")]


def _own(label: str) -> str:
    if label == "poolhouse" or label.startswith("goog"):
        raise ValueError("poolhouse and goog… are labels that a deploy and Google set: choose another key")
    return label


#: Google Cloud, Labels.
LabelKey = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$"), AfterValidator(_own)]
LabelValue = Annotated[str, Field(pattern=r"^[a-z0-9_-]{0,63}$")]


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


class Canary(Table):
    """A new release beside the present one, before it gets everything or is taken back; previews have none."""

    #: Requests and worker instances that it gets at first, in percent; 0: everything at once.
    percent: int = Field(default=0, ge=0, le=99)
    #: How long its error rate is compared with the present one's, in seconds.
    watch_s: float = Field(default=600, gt=0, allow_inf_nan=False)


class Vpc(Table):
    """The VPC network that the API, the workers and the jobs send to (Cloud Run, Direct VPC egress)."""

    #: Its name; of a Shared VPC `projects/HOST/global/networks/NAME`.
    network: NetworkName
    #: The subnet that instances get their addresses from, a /26 or larger in the region of the deploy; of a Shared VPC
    #: `projects/HOST/regions/REGION/subnetworks/NAME`.
    subnet: SubnetName
    #: What goes through it: what is sent to private addresses, or everything; then the internet is reached through a
    #: Cloud NAT of the network alone.
    egress: Literal["private-ranges-only", "all-traffic"] = "private-ranges-only"
    #: Network tags of the instances, which egress firewall rules name.
    tags: tuple[NetworkTag, ...] = ()

    @model_validator(mode="after")
    def _of_one_project(self) -> Self:
        hosts = {name.split("/")[1] if "/" in name else "" for name in (self.network, self.subnet)}
        if len(hosts) > 1:
            raise ValueError(
                f"network {self.network!r} and subnet {self.subnet!r} are of two projects: name both in full where "
                "they are of a Shared VPC, and both by name alone where they are of the deploy's own project"
            )
        return self


class Accounts(Table):
    """Service accounts of your own to run as, `NAME@PROJECT.iam.gserviceaccount.com`; a deploy makes those left out."""

    #: Runs the API.
    api: ServiceAccount | None = None
    #: Runs the workers of all queues, and so the handlers.
    worker: ServiceAccount | None = None
    #: Runs the dead-letter job.
    dead_letters: ServiceAccount | None = None
    #: Calls the API and starts the jobs, for Cloud Scheduler.
    scheduler: ServiceAccount | None = None
    #: Builds the image.
    builder: ServiceAccount | None = None
    #: Runs the autoscaler, with `autoscale` alone.
    autoscaler: ServiceAccount | None = None
    #: Runs the deployed console, with `[console]` alone.
    console: ServiceAccount | None = None


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
    #: Most calls in a minute of all callers without a key together, of each instance of the API, or of all
    #: (`share_rates`); left out: any number.
    anonymous_per_minute: PerMinute | None = None
    #: Most calls in a UTC day of all callers without a key together, of all instances; left out: any number.
    anonymous_per_day: PerDay | None = None
    #: Whether `per_minute` and `anonymous_per_minute` count the calls of all instances of the API together, in minutes
    #: of the clock, at the cost of some writes a minute; otherwise each instance counts by itself.
    share_rates: bool = False
    #: Notification channel of the alerts; empty: they show on the console alone.
    channel: str = Field(default="", pattern=r"^(projects/[^/]+/notificationChannels/[0-9]+)?$")
    #: Web origins that browsers may upload from, such as `https://app.example.com`.
    origins: tuple[Annotated[str, Field(pattern=r"^(\*|https?://[^/\s]+)$")], ...] = ()
    #: Roles on the project that handlers need beyond those of every worker, such as `roles/bigquery.jobUser`.
    worker_roles: tuple[Role, ...] = Field(default=(), max_length=5)
    #: Cloud KMS key that encrypts the buckets and topics, in the region of the deploy; left out: Google's own keys.
    kms_key: KmsKey | None = None
    #: US dollars that a month may cost with all instances at work: a deploy that could cost more is refused. Left out:
    #: any.
    max_monthly_cost: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    #: Labels of all that can have some, for bills and inventories.
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict, max_length=60)
    #: Cloud SQL instances that the API and the workers connect to at `/cloudsql/PROJECT:REGION:NAME`: their names, or
    #: `PROJECT:REGION:NAME` where they are elsewhere.
    cloud_sql: tuple[CloudSqlInstance, ...] = ()
    #: Service accounts of your own to run as, instead of those that a deploy makes.
    accounts: Accounts = Accounts()
    #: The network to send to; without the table it is the internet alone.
    vpc: Vpc | None = None
    #: Size and number of the API's instances.
    api: Api = Api()
    #: What of the requests and workers a new release gets before it gets all.
    canary: Canary = Canary()

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
        limited = (self.anonymous_per_minute, self.anonymous_per_day) != (None, None)
        return self.public in ("keys", "read", "submit") or bool(self.keys) or limited

    @model_validator(mode="after")
    def _keys_open_something(self) -> Self:
        if self.public == "none" and self.checks_callers:
            raise ValueError(
                "keys, anonymous_per_minute and anonymous_per_day are for an API that everybody can reach: set "
                'public = "keys", or leave them out (Cloud Run lets accounts in, and no others)'
            )
        if self.public == "keys" and not self.keys:
            raise ValueError('public = "keys" lets nobody in without keys: ./invoke new-key NAME makes one')
        if len({key.sha256 for key in self.keys.values()}) < len(self.keys):
            raise ValueError("two keys have the same sha256: make one key for each holder")
        return self

    @model_validator(mode="after")
    def _key_in_region(self) -> Self:
        if self.kms_key is not None and self.kms_key.split("/")[3] != self.region:
            raise ValueError(
                f"kms_key {self.kms_key!r} is not in the region of the deploy, {self.region}: Cloud Storage takes a "
                "key of the bucket's own location alone"
            )
        return self

    @model_validator(mode="after")
    def _subnet_in_region(self) -> Self:
        if self.vpc is not None and "/" in self.vpc.subnet and self.vpc.subnet.split("/")[3] != self.region:
            raise ValueError(f"vpc.subnet {self.vpc.subnet!r} is not in the region of the deploy, {self.region}")
        return self

    @model_validator(mode="after")
    def _pools_scale(self) -> Self:
        if self.autoscale and self.workers == "job":
            raise ValueError('autoscale is for workers = "pool": jobs start with their queue and end with it anyway')
        return self
