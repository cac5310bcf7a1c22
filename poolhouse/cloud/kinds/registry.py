"""The image: its repository, the build that fills it, and its bill of materials."""

from __future__ import annotations

import json
import re

from poolhouse.cloud.image import build_config
from poolhouse.cloud.options import Options
from poolhouse.cloud.resource import IMAGE, Command, Fields, Json, Read, Resource, command, entry, flag, pairs

#: Images kept whatever their age: enough to go back a few deploys.
KEEP_IMAGES = 10
#: Days after which older images go.
IMAGE_DAYS = 30
#: What attaching a bill of materials takes: the note that all bills of a project refer to is made with the first
#: (Artifact Analysis, Upload SBOMs).
BILL_ROLES = ("roles/containeranalysis.notes.editor", "roles/containeranalysis.occurrences.editor")
#: The API that knows of them.
BILLS_API = "containeranalysis.googleapis.com"
_POLICIES = [
    {"name": "keep-recent", "action": {"type": "Keep"}, "mostRecentVersions": {"keepCount": KEEP_IMAGES}},
    {
        "name": "delete-old",
        "action": {"type": "Delete"},
        "condition": {"tagState": "any", "olderThan": f"{IMAGE_DAYS}d"},
    },
]


def repository(*, options: Options) -> Resource:
    """The Artifact Registry repository, with a policy that cleans it up."""
    where = flag("location", options.region)
    labels = pairs(options.labels)
    clean = command(
        "artifacts", "repositories", "set-cleanup-policies", options.name, where,
        "--policy={file:cleanup.json}", "--no-dry-run", files={"cleanup.json": json.dumps(_POLICIES, indent=1)},
    )  # fmt: skip

    def observe(raw: Json) -> Fields | None:
        found = entry(raw, "name", options.name)
        if found is None:
            return None
        policies = found.get("cleanupPolicies") or {}
        keep = policies.get("keep-recent", {}).get("mostRecentVersions", {}).get("keepCount")
        age = str(policies.get("delete-old", {}).get("condition", {}).get("olderThan", ""))
        return {
            "format": found.get("format"),
            "keep_images": keep,
            "image_days": round(float(age[:-1]) / 86400) if age.endswith("s") else None,
            "cleanup_active": bool(policies) and not found.get("cleanupPolicyDryRun", False),
            **{f"label {key}": (found.get("labels") or {}).get(key) for key in options.labels},
        }

    return Resource(
        kind="repository",
        name=options.name,
        wanted={
            "format": "DOCKER",
            "keep_images": KEEP_IMAGES,
            "image_days": IMAGE_DAYS,
            "cleanup_active": True,
            **{f"label {key}": value for key, value in options.labels.items()},
        },
        read=Read(arguments=("artifacts", "repositories", "list", where), api="artifactregistry.googleapis.com"),
        observe=observe,
        create=(
            command(
                "artifacts", "repositories", "create", options.name, where, "--repository-format=docker",
                flag("labels", labels), f"--description=Images of {options.name}",
            ),
            clean,
        ),
        update=lambda raw: (
            command("artifacts", "repositories", "update", options.name, where, flag("update-labels", labels)),
            clean,
        ),
        after=(f"apis/{options.project}",),
        fixed={"format": "a repository keeps its format: rename the pipeline, or delete the repository"},
    )  # fmt: skip


def image(tag: str, *, options: Options) -> Resource:
    """The image of the present sources: built unless one with their tag is there."""
    path = f"{options.repository}:{tag}"
    build_bucket = f"gs://{options.build_bucket}"
    granted = (f"grants/repository/{options.name}", f"grants/bucket/{options.build_bucket}")
    region = flag("region", options.build_region or options.region)

    def reason(message: str) -> tuple[str, ...] | None:
        """A failed build names its id alone: whether a step failed or the push was refused is with the build."""
        failed = re.search(r"build (\S+) completed with status", message)
        if failed is None:
            return None
        return ("builds", "describe", failed[1], region, "--format=value(failureInfo.type,failureInfo.detail)")

    return Resource(
        kind="image",
        name=tag,
        wanted={"tag": tag},
        read=Read(
            arguments=("artifacts", "docker", "images", "list", options.repository, "--include-tags"),
            api="artifactregistry.googleapis.com",
            needs=f"repository/{options.name}",
        ),
        observe=lambda raw: {"tag": tag} if digest(raw, tag) else None,
        create=(
            Command(
                arguments=(
                    "builds", "submit", "{sources}", region,
                    "--config={file:cloudbuild.json}",
                    flag("service-account", options.account_path("builder")),
                    flag("gcs-source-staging-dir", f"{build_bucket}/source"),
                    flag("gcs-log-dir", f"{build_bucket}/logs"),
                    "--suppress-logs", "--format=json",
                ),
                files={"cloudbuild.json": build_config(path)},
                reason=reason,
            ),
        ),
        after=granted,
    )  # fmt: skip


_NO_BILL = (
    "the image runs without its bill of materials, which could not be attached. It takes the roles "
    f"{' and '.join(BILL_ROLES)} on the project (`./invoke github-oidc`, run again, grants them to the deployer) and "
    "the Container Analysis API (`gcloud services enable containeranalysis.googleapis.com`). The next deploy tries "
    "again."
)


def bill(tag: str, document: str, *, image: str, options: Options) -> Resource:
    """The bill of materials of the present sources' image: a file, and Artifact Analysis's reference to it.

    The file is in the build bucket: the bucket of its own that gcloud would make has neither uniform access nor
    protection from being made public, has no label of the pipeline, and stays after `destroy`.

    Args:
        tag: of the image.
        document: the bill, in CycloneDX.
        image: path and digest of the image; or what stands for it until it is built.
        options: the choices of the deploy.
    """

    def observe(raw: Json) -> Fields | None:
        described = {item["occ"].get("resourceUri") for item in raw or ()}
        return {"image": image} if f"https://{image}" in described else None

    return Resource(
        kind="sbom",
        name=tag,
        wanted={"image": image},
        read=bills_read(options),
        observe=observe,
        create=(
            command(
                "artifacts", "sbom", "load", "--source={file:sbom.cdx.json}", flag("uri", IMAGE),
                flag("destination", f"gs://{options.build_bucket}/sbom"),
                files={"sbom.cdx.json": document},
            ),
        ),
        after=("image",),
        without=_NO_BILL,
    )  # fmt: skip


def bills_read(options: Options) -> Read:
    """How the references to bills of materials are listed."""
    return Read(
        arguments=("artifacts", "sbom", "list", flag("resource-prefix", options.repository)),
        api=BILLS_API,
        needs=f"repository/{options.name}",
        optional=True,
    )


def digest(raw: Json, tag: str) -> str | None:
    """The digest of the image with that tag in what `docker images list` printed."""
    for item in raw or ():
        tags = item.get("tags") or ()
        if tag in (tags.split(",") if isinstance(tags, str) else tags):
            return str(item["version"])
    return None
