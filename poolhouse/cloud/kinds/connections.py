"""What containers of Cloud Run connect to beside the internet: a VPC network, and Cloud SQL instances."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from poolhouse.cloud.options import Options
from poolhouse.cloud.resource import Fields, Json, flag
from poolhouse.pipeline.config.deploy_options import Vpc

#: Where the template of a service, pool or job has them, as annotations.
INTERFACES, EGRESS = "run.googleapis.com/network-interfaces", "run.googleapis.com/vpc-access-egress"
CLOUD_SQL = "run.googleapis.com/cloudsql-instances"
#: What Cloud Run does where nothing is said (Cloud Run, VpcAccess).
_DEFAULT_EGRESS = "private-ranges-only"


@dataclass(frozen=True, kw_only=True)
class Connections:
    """What a service, pool or job connects to."""

    vpc: Vpc | None = None
    #: Each as `PROJECT:REGION:NAME`.
    cloud_sql: tuple[str, ...] = ()

    def wanted(self) -> Fields:
        """The compared fields, as wanted."""
        fields: Fields = {}
        if self.vpc is not None:
            fields = {
                "network": self.vpc.network,
                "subnet": self.vpc.subnet,
                "egress": self.vpc.egress,
                "network_tags": tuple(sorted(self.vpc.tags)),
            }
        return {**fields, **({"cloud_sql": tuple(sorted(self.cloud_sql))} if self.cloud_sql else {})}

    def flags(self) -> tuple[str, ...]:
        """The flags of gcloud's deploy commands that connect a container so."""
        flags: list[str] = []
        if self.vpc is not None:
            flags += [
                flag("network", self.vpc.network),
                flag("subnet", self.vpc.subnet),
                flag("vpc-egress", self.vpc.egress),
            ]
            if self.vpc.tags:
                flags.append(flag("network-tags", ",".join(self.vpc.tags)))
        if self.cloud_sql:
            flags.append(flag("set-cloudsql-instances", ",".join(self.cloud_sql)))
        return tuple(flags)

    def annotations(self) -> Mapping[str, str]:
        """The same as annotations of a template, for what is declared in a file."""
        notes: dict[str, str] = {}
        if self.vpc is not None:
            interface = {"network": self.vpc.network, "subnetwork": self.vpc.subnet}
            tags = {"tags": list(self.vpc.tags)} if self.vpc.tags else {}
            notes = {INTERFACES: json.dumps([{**interface, **tags}]), EGRESS: self.vpc.egress}
        return {**notes, **({CLOUD_SQL: ",".join(self.cloud_sql)} if self.cloud_sql else {})}

    def removals(self, present: Fields | None, *, cloud_sql: str = "--clear-cloudsql-instances") -> tuple[str, ...]:
        """The flags that take away what is connected and should not be: a deploy leaves what it does not name.

        Args:
            present: the fields of what is there.
            cloud_sql: the flag that takes the Cloud SQL instances away.
        """
        present = present or {}
        flags: list[str] = []
        if self.vpc is None and (present.get("network") or present.get("subnet")):
            flags.append("--clear-network")
        if self.vpc is not None and not self.vpc.tags and present.get("network_tags"):
            flags.append("--clear-network-tags")
        if not self.cloud_sql and present.get("cloud_sql"):
            flags.append(cloud_sql)
        return tuple(flags)


def connections(options: Options, *, cloud_sql: bool = True) -> Connections:
    """The connections of the parts of a deployment.

    Args:
        options: the choices of the deploy.
        cloud_sql: whether this part connects to the Cloud SQL instances.
    """
    vpc = options.vpc
    if vpc is not None:
        names = {"network": _short(vpc.network, options), "subnet": _short(vpc.subnet, options)}
        vpc = vpc.model_copy(update=names)
    return Connections(vpc=vpc, cloud_sql=options.cloud_sql if cloud_sql else ())


def granted(options: Options) -> tuple[str, ...]:
    """Ids of what must be in place before a part starts that has roles on the project."""
    some = options.own_cloud_sql or options.worker_roles or options.cloud_trace
    return (f"grants/project/{options.project}",) if some else ()


def observed(template: Json, options: Options) -> Fields:
    """The fields of `Connections.wanted` of the template of a service, pool or job that is there."""
    notes = (template.get("metadata") or {}).get("annotations") or {}
    interfaces: Sequence[Json] = json.loads(notes.get(INTERFACES) or "[]")
    instances = str(notes.get(CLOUD_SQL) or "")
    fields: Fields = {"cloud_sql": tuple(sorted(filter(None, instances.split(","))))}
    if not interfaces:
        return fields
    (interface, *_) = interfaces
    return {
        **fields,
        "network": _short(interface.get("network"), options),
        "subnet": _short(interface.get("subnetwork"), options),
        "egress": notes.get(EGRESS, _DEFAULT_EGRESS),
        "network_tags": tuple(sorted(interface.get("tags") or ())),
    }


def _short(path: str | None, options: Options) -> str | None:
    """The name alone of what is in the deploy's own project."""
    own = f"projects/{options.project}/"
    return path.rpartition("/")[2] if path and path.startswith(own) else path
