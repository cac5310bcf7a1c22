"""What Cloud Run checks of a network and of Cloud SQL instances: annotations of a template, as its v1 API has them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from poolhouse.cloud.rehearsal.http import ApiError
from poolhouse.cloud.rehearsal.schema import check, list_of, text

INTERFACES, EGRESS = "run.googleapis.com/network-interfaces", "run.googleapis.com/vpc-access-egress"
CLOUD_SQL = "run.googleapis.com/cloudsql-instances"
_NAME = r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?"
_INTERFACE = {
    "network": text(rf"(projects/[^/]+/global/networks/)?{_NAME}"),
    "subnetwork": text(rf"(projects/[^/]+/regions/[^/]+/subnetworks/)?{_NAME}"),
    "tags": list_of(text(_NAME)),
}
_INSTANCE = re.compile(r"[^:,/]+(:[^:,/]+)?:[a-z]+-[a-z]+[0-9]+:[a-z][a-z0-9-]*")


def check_connections(notes: Mapping[str, str], region: str) -> None:
    """Check a template's annotations. Raises `ApiError` (400)."""
    try:
        interfaces: Any = json.loads(notes.get(INTERFACES, "[]"))
    except ValueError:
        raise _wrong(INTERFACES, "no JSON") from None
    check(interfaces, list_of(_INTERFACE, most=1), INTERFACES)
    for interface in interfaces:
        if not (interface.get("network") or interface.get("subnetwork")):
            raise _wrong(INTERFACES, "at least one of network and subnetwork must be specified")
        subnet = interface.get("subnetwork", "").split("/")
        if len(subnet) > 1 and subnet[3] != region:
            raise _wrong(INTERFACES, f"subnetwork {interface['subnetwork']} is not in region {region}")
    egress = notes.get(EGRESS)
    if egress not in {None, "all", "all-traffic", "private-ranges-only"}:
        raise _wrong(EGRESS, f"{egress!r} is no egress setting")
    if egress is not None and not interfaces:
        raise _wrong(EGRESS, "VPC egress needs a network interface or a VPC connector")
    for instance in filter(None, notes.get(CLOUD_SQL, "").split(",")):
        if not _INSTANCE.fullmatch(instance):
            raise _wrong(CLOUD_SQL, f"{instance!r} is not PROJECT:REGION:INSTANCE")


def _wrong(name: str, message: str) -> ApiError:
    return ApiError("INVALID_ARGUMENT", f"spec.template.metadata.annotations[{name}]: {message}")
