"""What services, worker pools and jobs of Cloud Run have in common: one container, its size, account and variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from poolhouse.cloud.kinds.connections import Connections
from poolhouse.cloud.options import Options
from poolhouse.cloud.resource import IMAGE, Fields, Json, entry, flag, pairs


@dataclass(frozen=True, kw_only=True)
class Container:
    """What a service, pool or job runs."""

    #: variables.
    env: Mapping[str, str]
    #: By variable, the secret and its version as `SECRET:VERSION`.
    secrets: Mapping[str, str] = field(default_factory=dict)
    #: E-mail address of the account that it runs as.
    account: str
    #: VCPUs.
    cpu: float
    #: Memory, in MiB.
    memory_mib: int
    #: Of `python`; empty: the image's own command.
    arguments: tuple[str, ...] = ()
    #: The network and the databases that it reaches.
    connections: Connections

    def wanted(self, image: str) -> Fields:
        """The compared fields, as wanted."""
        return {
            "image": image,
            "account": self.account,
            "cpu": float(self.cpu),
            "memory_mib": self.memory_mib,
            **({"command": "python", "arguments": " ".join(self.arguments)} if self.arguments else {}),
            **{f"env {name}": value for name, value in self.env.items()},
            **{f"secret {name}": value for name, value in self.secrets.items()},
            **self.connections.wanted(),
        }

    def flags(self) -> tuple[str, ...]:
        """The flags of gcloud's deploy commands that make a container so."""
        return (
            flag("service-account", self.account),
            flag("cpu", f"{self.cpu:g}"),
            flag("memory", f"{self.memory_mib}Mi"),
            flag("set-env-vars", pairs(self.env)),
            flag("set-secrets", pairs(self.secrets)) if self.secrets else "--clear-secrets",
            # Empty: those of the image, whatever was set by hand.
            flag("command", "python" if self.arguments else ""),
            flag("args", ",".join(self.arguments)),
            *self.connections.flags(),
        )

    def manifest(self) -> Json:
        """The same, without account and connections, as a file declares it (Cloud Run YAML Reference)."""
        references = {name: text.rpartition(":") for name, text in self.secrets.items()}
        return {
            "image": IMAGE,
            **({"command": ["python"], "args": list(self.arguments)} if self.arguments else {}),
            "env": [
                *({"name": name, "value": value} for name, value in self.env.items()),
                *(
                    {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": version}}}
                    for name, (secret, _, version) in references.items()
                ),
            ],
            "resources": {"limits": {"cpu": f"{self.cpu:g}", "memory": f"{self.memory_mib}Mi"}},
        }


def environment(options: Options, env: Mapping[str, str], **more: str) -> Mapping[str, str]:
    """The environment variables of a container: those that the settings need, and those of pipeline.toml."""
    stage = {"PIPELINE_STAGE": options.stage} if options.stage else {}
    return {"GOOGLE_CLOUD_PROJECT": options.project, "BUCKET_NAME": options.bucket, **stage, **more, **env}


def observed_fields(container: Json, spec: Json) -> Fields:
    """The fields of `Container.wanted` of a container that is there, variables that were added by hand included."""
    limits = container.get("resources", {}).get("limits", {})
    command, arguments = container.get("command"), container.get("args")
    return {
        "image": container.get("image"),
        "account": spec.get("serviceAccountName"),
        "cpu": _cpu(limits.get("cpu")),
        "memory_mib": _mebibytes(limits.get("memory")),
        **({"command": " ".join(command)} if command else {}),
        **({"arguments": " ".join(arguments)} if arguments else {}),
        **dict(_variable(item) for item in container.get("env", ())),
    }


def _variable(item: Json) -> tuple[str, str | None]:
    secret = (item.get("valueFrom") or {}).get("secretKeyRef")
    if secret:
        return f"secret {item['name']}", f"{secret.get('name')}:{secret.get('key')}"
    return f"env {item['name']}", item.get("value")


def label_fields(options: Options) -> Fields:
    """The labels of a pipeline, as wanted."""
    return {f"label {key}": value for key, value in options.labels.items()}


def observed_labels(raw: Json, options: Options) -> Fields:
    """The same labels of a service, pool or job that is there."""
    return {f"label {key}": raw["metadata"].get("labels", {}).get(key) for key in options.labels}


def failed_revision(item: Json) -> Fields:
    """The newest revision of a service or pool, where it did not get ready: all is as wanted, and runs as before."""
    status = item.get("status") or {}
    newest = status.get("latestCreatedRevisionName")
    failed = any(part.get("type") == "Ready" and part.get("status") == "False" for part in status.get("conditions", ()))
    return {"failed_revision": newest} if failed and newest != status.get("latestReadyRevisionName") else {}


def named(raw: Json, name: str) -> Json:
    """The entry of that name in a listing of services, pools or jobs; None where there is none."""
    return entry([{**item, "id": item["metadata"]["name"]} for item in raw or ()], "id", name)


def _cpu(text: str | None) -> float | None:
    if text is None:
        return None
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)


def _mebibytes(text: str | None) -> int | None:
    for unit, factor in (("Mi", 1), ("Gi", 1024), ("M", 1_000_000 / 1_048_576), ("G", 1_000_000_000 / 1_048_576)):
        if text and text.endswith(unit):
            return round(float(text[: -len(unit)]) * factor)
    return None
