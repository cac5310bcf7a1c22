"""`invoke export terraform`: the configuration of a deployment, and what its readers need to know."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from poolhouse.cloud import image
from poolhouse.cloud.errors import CloudError
from poolhouse.cloud.gcloud import release_tracks
from poolhouse.cloud.gcloud.release_tracks import ReleaseTracks
from poolhouse.cloud.gcloud.runner import Gcloud
from poolhouse.cloud.kinds import registry
from poolhouse.cloud.options import Options
from poolhouse.cloud.plan import desired
from poolhouse.cloud.plan.actual import read_project, read_resources
from poolhouse.cloud.resource import IMAGE, Resource
from poolhouse.cloud.terraform import configuration
from poolhouse.cloud.terraform.form import PROJECT_NUMBER
from poolhouse.pipeline.config.topology import Topology

#: Not written by an export without `--with-imports`, which removes it: its ids may no longer exist.
IMPORTS = "imports.tf"
#: Written to the folder with the files, so that a file of an earlier export that is not written any more goes.
_MARK = ".poolhouse-export.json"


@dataclass(frozen=True)
class Exported:
    """The files of an export."""

    #: Text by name.
    files: Mapping[str, str]
    #: How many import blocks there are; None: the project was not asked.
    imports: int | None


def offline(topology: Topology, *, options: Options, root: Path) -> Exported:
    """Write the configuration from pipeline.toml alone: no gcloud, no login."""
    # The newest gcloud's: it grants on single worker pools, as Terraform does.
    tracks = ReleaseTracks(pool_policies=True)
    tag = image.tag(root)
    written = configuration.write(_resources(topology, options, tracks, tag, PROJECT_NUMBER), options)
    files = configuration.files(written, options)
    return Exported({**files, "README.md": _readme(topology, options, tag)}, None)


def with_imports(gcloud: Gcloud, topology: Topology, *, options: Options, root: Path) -> Exported:
    """The same, with import blocks for what the project has, and its image.

    Raises:
        CloudError: the project can't be read.
    """
    tracks = release_tracks.installed(gcloud)
    tag = image.tag(root)
    project = read_project(gcloud, options.project)
    # Read under the project's number, which is in the names of agents; written without it.
    real = _resources(topology, options, tracks, tag, project.number)
    snapshot = read_resources(gcloud, real, base=project)
    numbered = configuration.write(real, options)
    written = configuration.write(_resources(topology, options, tracks, tag, PROJECT_NUMBER), options)
    digest = registry.digest(snapshot.get(registry.image(tag, options=options).read.arguments), tag)
    files = configuration.files(written, options, image=f"{options.repository}@{digest}" if digest else "")
    imports = configuration.imports(numbered, snapshot)
    found = {**files, "README.md": _readme(topology, options, tag), **({IMPORTS: imports} if imports else {})}
    return Exported(found, imports.count("import {"))


def save(exported: Exported, folder: Path) -> None:
    """Write the files, and remove those of an earlier export that this one does not have; nothing else is touched.

    Raises:
        CloudError: the folder has files with these names that no export wrote.
    """
    mark = folder / _MARK
    earlier = set(json.loads(mark.read_text(encoding="utf-8"))) if mark.is_file() else set()
    if foreign := sorted(name for name in exported.files if name not in earlier and (folder / name).exists()):
        raise CloudError(f"{folder} has {', '.join(foreign)}, which no export has written: choose another --folder.")
    folder.mkdir(parents=True, exist_ok=True)
    for name in sorted(earlier - set(exported.files)):
        (folder / name).unlink(missing_ok=True)
    for name, text in exported.files.items():
        (folder / name).write_text(text, encoding="utf-8")
    mark.write_text(json.dumps(sorted(exported.files), indent=1) + "\n", encoding="utf-8")


def _resources(
    topology: Topology, options: Options, tracks: ReleaseTracks, tag: str, project_number: str
) -> tuple[Resource, ...]:
    return desired.resources(
        topology, options=options, tracks=tracks, project_number=project_number, tag=tag, image=IMAGE
    )


def _readme(topology: Topology, options: Options, tag: str) -> str:
    build = registry.image(tag, options=options).create[0]
    command = f"{build.shown()} --project={options.project}".replace("'{sources}'", "SOURCES")
    path = f"{options.repository}@sha256:DIGEST"
    attach = registry.bill(tag, "", image=path, options=options).create[0]
    bill = f"{attach.shown()} --project={options.project}".replace("'--uri={image}'", f"--uri={path}")
    stage = f" --stage {options.stage}" if options.stage else ""
    where = f"--project {options.project}{stage}"
    commands = "".join(f"    ./invoke secret set {name} {where}\n" for name in topology.all_secrets)
    about = "The values of secrets: the configuration looks them up, so set them before the first plan.\n\n"
    secrets = f"{about}{commands}\n" if commands else ""
    channel = f"The alert policies notify {options.channel}, which must exist.\n\n" if options.channel else ""
    return f"""# {options.name} on Google Cloud, as a Terraform configuration

Written by `./invoke export terraform {where}` from pipeline.toml. Don't edit these files: change pipeline.toml and
export again.

## What is not in these files

The image. A deploy builds it; here the variable `image` has its path and digest. This is the build command of a deploy.
SOURCES is a folder with the Dockerfile and the files that it copies; cloudbuild.json is below:

    {command}

cloudbuild.json:

    {build.files["cloudbuild.json"]}

Its bill of materials, which a deploy attaches to it, once the build has said the digest:

    ./invoke export sbom{stage} --file sbom.cdx.json
    {bill}

{secrets}{channel}The checks of a deployed system: `./invoke e2e {where}`.

docs/terraform.md of Poolhouse explains the first apply, and how to move a deployed pipeline to Terraform and back.
"""
