"""Buckets: the pipeline's own, and the one for the sources and logs of builds."""

from __future__ import annotations

import json

from poolhouse.cloud.options import Options
from poolhouse.cloud.resource import Command, Fields, Json, Read, Resource, command, entry, flag, pairs
from poolhouse.pipeline.config.topology import Topology

#: Deleted objects can be brought back this long, in seconds: Cloud Storage's default, said so that it stays.
SOFT_DELETE_S = 604_800
#: Days that sources and logs of builds are kept, and their prefixes. Bills of materials stay as long as the bucket.
BUILD_DAYS, BUILD_PREFIXES = 7, ("source/", "logs/")
#: The project's buckets: a bucket of the same name in another project is none of ours, however readable.
BUCKETS = Read(arguments=("storage", "buckets", "list"), api="storage.googleapis.com")
#: What a resumable upload from a browser needs (Cloud Storage, CORS).
_METHODS = ["GET", "PUT", "POST"]
_HEADERS = ["Content-Type", "Content-Range", "Range", "Location", "x-goog-resumable"]


def bucket(topology: Topology, *, options: Options) -> Resource:
    """The bucket for files, results and records."""
    lifecycle = {f"{prefix}/": days for prefix, days in topology.bucket.lifecycle_days.items()}
    return _bucket(
        options.bucket, options=options, lifecycle=lifecycle, soft_delete_s=SOFT_DELETE_S, origins=options.origins
    )


def build_bucket(*, options: Options) -> Resource:
    """The bucket of sources, build logs and bills of materials: apart, since the builder reads nothing else."""
    lifecycle = dict.fromkeys(BUILD_PREFIXES, BUILD_DAYS)
    return _bucket(options.build_bucket, options=options, lifecycle=lifecycle, soft_delete_s=0, origins=())


def _bucket(
    name: str, *, options: Options, lifecycle: dict[str, int], soft_delete_s: int, origins: tuple[str, ...]
) -> Resource:
    url = f"gs://{name}"
    rules = json.dumps({"rule": [_rule(prefix, days) for prefix, days in sorted(lifecycle.items())]}, indent=1)
    cors = [{"origin": list(origins), "method": _METHODS, "responseHeader": _HEADERS, "maxAgeSeconds": 3600}]
    wanted: Fields = {
        "location": options.region.upper(),
        "uniform_access": True,
        "public_access": "enforced",
        "soft_delete_s": soft_delete_s,
        "versioning": False,
        "lifecycle": tuple(sorted(f"{prefix or '*'} {days} days" for prefix, days in lifecycle.items())),
        "cors_origins": origins,
        **({"kms_key": options.kms_key} if options.kms_key else {}),
        **{f"label {key}": value for key, value in options.labels.items()},
    }
    encryption = (flag("default-encryption-key", options.kms_key),) if options.kms_key else ()
    settings = [
        *encryption,
        flag("lifecycle-file", "{file:lifecycle.json}"),
        "--uniform-bucket-level-access",
        "--public-access-prevention",
        flag("soft-delete-duration", f"{soft_delete_s}s") if soft_delete_s else "--clear-soft-delete",
    ]
    files = {"lifecycle.json": rules}

    def observe(raw: Json) -> Fields | None:
        found = entry(raw, "name", name)
        return _observe(found, options) if found else None

    def update(raw: Json) -> tuple[Command, ...]:
        found = entry(raw, "name", name) or {}
        arguments = [*settings, flag("update-labels", pairs(options.labels))]
        if found.get("versioning_enabled"):
            arguments.append("--no-versioning")
        sent = dict(files)
        if origins:
            arguments.append(flag("cors-file", "{file:cors.json}"))
            sent["cors.json"] = json.dumps(cors, indent=1)
        elif found.get("cors_config"):
            arguments.append("--clear-cors")
        return (command("storage", "buckets", "update", url, *arguments, files=sent),)

    # `create` knows neither labels nor CORS, nor a soft delete of nothing but as a duration of 0.
    make = [*settings[:-1], flag("soft-delete-duration", f"{soft_delete_s}s"), flag("location", options.region)]
    late = update(None)
    return Resource(
        kind="bucket",
        name=name,
        wanted=wanted,
        read=BUCKETS,
        observe=observe,
        create=(command("storage", "buckets", "create", url, *make, files=files), *late),
        update=update,
        after=(f"apis/{options.project}",),
        fixed={"location": "a bucket stays where it was made: deploy to its region, or move its objects to another"},
    )


def _rule(prefix: str, days: int) -> Json:
    condition: Json = {"age": days}
    if prefix:
        condition["matchesPrefix"] = [prefix]
    return {"action": {"type": "Delete"}, "condition": condition}


def _observe(raw: Json, options: Options) -> Fields:
    lifecycle = []
    for rule in (raw.get("lifecycle_config") or {}).get("rule", ()):
        condition = rule.get("condition", {})
        prefixes = ",".join(condition.get("matchesPrefix", ())) or "*"
        simple = rule.get("action", {}).get("type") == "Delete" and set(condition) <= {"age", "matchesPrefix"}
        lifecycle.append(f"{prefixes} {condition['age']} days" if simple else json.dumps(rule, sort_keys=True))
    return {
        "location": str(raw.get("location", "")).upper(),
        "uniform_access": bool(raw.get("uniform_bucket_level_access")),
        "public_access": raw.get("public_access_prevention"),
        "soft_delete_s": int((raw.get("soft_delete_policy") or {}).get("retentionDurationSeconds", 0)),
        "versioning": bool(raw.get("versioning_enabled")),
        "lifecycle": tuple(sorted(lifecycle)),
        "cors_origins": tuple(origin for entry in raw.get("cors_config") or () for origin in entry.get("origin", ())),
        # One that was given by hand stays: no deploy takes encryption away.
        **({"kms_key": raw.get("default_kms_key")} if options.kms_key else {}),
        **{f"label {key}": (raw.get("labels") or {}).get(key) for key in options.labels},
    }
