"""What services, worker pools and jobs of Cloud Run have in common: one container, its size, account and variables."""

from __future__ import annotations

from collections.abc import Mapping

from poolhouse.cloud.options import Options
from poolhouse.cloud.resource import Fields, Json, entry, flag, pairs


def environment(options: Options, **more: str) -> Mapping[str, str]:
    """The environment variables of a container: those that poolhouse/pipeline/settings.py needs, and more."""
    stage = {"PIPELINE_STAGE": options.stage} if options.stage else {}
    return {"GOOGLE_CLOUD_PROJECT": options.project, "BUCKET_NAME": options.bucket, **stage, **more}


def wanted_fields(
    image: str,
    *,
    env: Mapping[str, str],
    account: str,
    cpu: float,
    memory_mib: int,
    arguments: tuple[str, ...] = (),
) -> Fields:
    """The compared fields of a container, as wanted."""
    return {
        "image": image,
        "account": account,
        "cpu": float(cpu),
        "memory_mib": memory_mib,
        **({"command": "python", "arguments": " ".join(arguments)} if arguments else {}),
        **{f"env {name}": value for name, value in env.items()},
    }


def flags(
    env: Mapping[str, str], *, account: str, cpu: float, memory_mib: int, arguments: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """The flags of gcloud's deploy commands that make a container so."""
    return (
        flag("service-account", account),
        flag("cpu", f"{cpu:g}"),
        flag("memory", f"{memory_mib}Mi"),
        flag("set-env-vars", pairs(env)),
        # Empty: those of the image, whatever was set by hand.
        flag("command", "python" if arguments else ""),
        flag("args", ",".join(arguments)),
    )


def observed_fields(container: Json, env: Mapping[str, str], spec: Json) -> Fields:
    """The same fields of a container that is there; `env` names the variables to look for."""
    limits = container.get("resources", {}).get("limits", {})
    present = {item["name"]: item.get("value") for item in container.get("env", ())}
    command, arguments = container.get("command"), container.get("args")
    return {
        "image": container.get("image"),
        "account": spec.get("serviceAccountName"),
        "cpu": _cpu(limits.get("cpu")),
        "memory_mib": _mebibytes(limits.get("memory")),
        **({"command": " ".join(command)} if command else {}),
        **({"arguments": " ".join(arguments)} if arguments else {}),
        # Variables that somebody added by hand show as a difference: the deploy sets the whole list.
        **{f"env {name}": present.get(name) for name in (*env, *sorted(present.keys() - env.keys()))},
    }


def label_fields(options: Options) -> Fields:
    """The labels of a pipeline, as wanted."""
    return {f"label {key}": value for key, value in options.labels.items()}


def observed_labels(raw: Json, options: Options) -> Fields:
    """The same labels of a service, pool or job that is there."""
    return {f"label {key}": raw["metadata"].get("labels", {}).get(key) for key in options.labels}


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
