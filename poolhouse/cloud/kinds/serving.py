"""How a service of Cloud Run takes requests: the part that services have and pools and jobs have not."""

from __future__ import annotations

from dataclasses import dataclass

from poolhouse.cloud.kinds import containers
from poolhouse.cloud.resource import Fields, Json, flag, pairs

#: Longest time of a request, in seconds: Cloud Run's default. An event stream ends with it and is opened again.
REQUEST_TIMEOUT_S = 300
CHECKED, UNCHECKED = "--invoker-iam-check", "--no-invoker-iam-check"
_MIN_SCALE, _MAX_SCALE = "autoscaling.knative.dev/minScale", "autoscaling.knative.dev/maxScale"
_INGRESS, _THROTTLING = "run.googleapis.com/ingress", "run.googleapis.com/cpu-throttling"
_OPEN = "run.googleapis.com/invoker-iam-disabled"
_PROBE = {"httpGet.path": "/health", "periodSeconds": "5", "timeoutSeconds": "4", "failureThreshold": "24"}


@dataclass(frozen=True, kw_only=True)
class Serving:
    """Number and concurrency of the instances, and whether Cloud Run checks who calls."""

    concurrency: int
    min_instances: int
    max_instances: int
    checked: bool

    def wanted(self) -> Fields:
        """The compared fields, as wanted."""
        return {
            "concurrency": self.concurrency,
            "min_instances": self.min_instances,
            "max_instances": self.max_instances,
            "startup_probe": "/health",
            "timeout_s": REQUEST_TIMEOUT_S,
            "cpu_throttling": True,
            "ingress": "all",
            "invoker_check": self.checked,
        }

    def flags(self) -> tuple[str, ...]:
        """The flags of `gcloud run deploy` that make a service so."""
        return (
            flag("concurrency", self.concurrency),
            flag("min-instances", self.min_instances),
            flag("max-instances", self.max_instances),
            flag("startup-probe", pairs(_PROBE)),
            flag("timeout", f"{REQUEST_TIMEOUT_S}s"),
            "--cpu-throttling",
            "--ingress=all",
            # Not by a grant to allUsers, which domain restricted sharing forbids (Cloud Run, Allowing public access).
            CHECKED if self.checked else UNCHECKED,
            "--no-allow-unauthenticated",
        )


def observed(service: Json) -> Fields:
    """The same fields of a service that is there."""
    template = service["spec"]["template"]
    notes = template.get("metadata", {}).get("annotations", {})
    outer = service["metadata"].get("annotations", {})
    return {
        "concurrency": template["spec"].get("containerConcurrency"),
        "min_instances": int(notes.get(_MIN_SCALE, 0)),
        "max_instances": int(notes.get(_MAX_SCALE, 0)),
        "startup_probe": template["spec"]["containers"][0].get("startupProbe", {}).get("httpGet", {}).get("path"),
        "timeout_s": template["spec"].get("timeoutSeconds", REQUEST_TIMEOUT_S),
        "cpu_throttling": notes.get(_THROTTLING, "true").lower() == "true",
        "ingress": outer.get(_INGRESS, "all"),
        "invoker_check": outer.get(_OPEN, "false").lower() != "true",
        **containers.failed_revision(service),
    }
