"""The files of a configuration, out of the resources of a deploy."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from poolhouse.cloud.errors import CloudError
from poolhouse.cloud.options import Options
from poolhouse.cloud.plan.planner import needs, ordered
from poolhouse.cloud.resource import Json, Resource
from poolhouse.cloud.terraform import hcl
from poolhouse.cloud.terraform.flags import Flags
from poolhouse.cloud.terraform.form import Context, Form, Labels, Piece
from poolhouse.cloud.terraform.forms import grants, monitoring, project, queues, run, schedules, storage
from poolhouse.cloud.terraform.hcl import Block, Expression, Value

#: Version of the provider whose schema the tests compare with (`provider_schema.json`).
PROVIDER_VERSION = "8.7"

FORMS: Mapping[str, Form] = {
    "apis": Form("google_project_service", "apis", project.apis),
    "account": Form("google_service_account", "accounts", project.account),
    "agent": Form("google_project_service_identity", "accounts", project.agent),
    "bucket": Form("google_storage_bucket", "storage", storage.bucket),
    "notifications": Form("", "notifications", storage.notifications),
    "repository": Form("google_artifact_registry_repository", "registry", project.repository),
    "topic": Form("google_pubsub_topic", "pubsub", queues.topic),
    "subscription": Form("google_pubsub_subscription", "pubsub", queues.subscription),
    "grants": Form("", "grants", grants.grants),
    "secret": Form("google_secret_manager_secret", "secrets", project.secret),
    "service": Form("google_cloud_run_v2_service", "run", run.service),
    "pool": Form("google_cloud_run_v2_worker_pool", "run", run.pool),
    "job": Form("google_cloud_run_v2_job", "run", run.job),
    "schedule": Form("google_cloud_scheduler_job", "scheduler", schedules.schedule),
    "parameter": Form("google_parameter_manager_parameter", "autoscaler", project.parameter),
    "parameter-version": Form("google_parameter_manager_parameter_version", "autoscaler", project.parameter_version),
    "metric": Form("google_logging_metric", "monitoring", monitoring.metric),
    "dashboard": Form("google_monitoring_dashboard", "monitoring", monitoring.dashboard),
    "alert": Form("google_monitoring_alert_policy", "monitoring", monitoring.alert),
}
#: What a deploy does or wants that is no resource of Terraform, and what stands for it.
NOT_WRITTEN: Mapping[str, str] = {
    "image": "built before `terraform apply`; its path and digest are the variable `image`",
    "sbom": "attached when the image is built, with `gcloud artifacts sbom load`: the provider has no such occurrences",
    "channel": "made by a person; the alert policies name it",
}
_STORAGE_AGENT = "google_storage_project_service_account"


@dataclass(frozen=True)
class Written:
    """A resource as Terraform has it."""

    resource: Resource
    file: str
    pieces: tuple[Piece, ...]


def write(resources: Sequence[Resource], options: Options) -> tuple[Written, ...]:
    """Write every resource that has a form.

    Raises:
        CloudError: a kind has no form, or a form does not read all that the deploy's commands ask for.
    """
    resources = ordered(resources)
    for item in resources:
        if item.kind not in FORMS and item.kind not in NOT_WRITTEN:
            raise CloudError(f"{item.id}: its kind has no Terraform form in {__name__}.")
    made = [item for item in resources if item.kind in FORMS]
    context = Context(options, _addresses(made, options))
    written: list[Written] = []
    for item in made:
        form, flags = FORMS[item.kind], Flags(item)
        pieces = tuple(form.write(item, flags, context))
        flags.check()
        written.append(Written(item, form.file, pieces))
    return _with_dependencies(written)


def files(written: Sequence[Written], options: Options, *, image: str = "") -> dict[str, str]:
    """The files of the configuration by name, without imports.

    Args:
        written: the resources.
        options: the choices of the deploy.
        image: path and digest of the image where it is there: the default of the variable.
    """
    found = {"providers.tf": hcl.text(_providers(options)), "variables.tf": hcl.text(_variables(options, image))}
    for item in written:
        if item.pieces:
            name = f"{item.file}.tf"
            text = hcl.text([piece.block for piece in item.pieces])
            found[name] = f"{found[name]}\n{text}" if name in found else text
    services = {item.resource.name: item for item in written if item.resource.kind == "service"}
    found["outputs.tf"] = hcl.text(
        [
            _address(name, what, services[service])
            for name, what, service in (
                ("api_url", "API", options.api_service),
                ("console_url", "console", options.console_service),
            )
            if service in services
        ]
    )
    return found


def _address(name: str, what: str, service: Written) -> Block:
    body: dict[str, Value] = {"description": f"Address of the {what}.", "value": service.pieces[0].block.address.uri}
    return Block("output", (name,), body)


def imports(written: Sequence[Written], snapshot: Mapping[tuple[str, ...], Json]) -> str:
    """The text of import blocks for what exists; one for what does not would fail every plan.

    Args:
        written: the resources.
        snapshot: what was read.
    """
    blocks = []
    for item in written:
        raw = snapshot.get(item.resource.read.arguments)
        if item.resource.observe(raw) is None:
            continue
        for piece in item.pieces:
            for key, id_ in piece.imports(raw).items():
                blocks.append(Block("import", (), {"to": Expression(piece.block.address.text + key), "id": id_}))
    return hcl.text(blocks)


def _addresses(resources: Sequence[Resource], options: Options) -> Mapping[str, Expression]:
    labels, found = Labels(), {}
    own = {options.bucket: "files", options.build_bucket: "build", options.name: "images", options.project: "this"}
    for item in resources:
        form = FORMS[item.kind]
        if not form.type:
            continue
        type_ = _STORAGE_AGENT if item.id == "agent/storage" else form.type
        short = item.name.partition("@")[0].removeprefix(
            f"{options.identity if item.kind in _SHARED else options.name}-"
        )
        address = labels.give(type_, own.get(item.name, short))
        data = bool(item.absent) or type_ == _STORAGE_AGENT  # what a deploy can't make, Terraform looks up
        found[item.id] = Expression(f"data.{address.text}") if data else address
    return found


#: Kinds whose names begin with the family that previews share.
_SHARED = frozenset({"account", "secret"})


def _with_dependencies(written: Sequence[Written]) -> tuple[Written, ...]:
    """Add to each block what must be in place first and what it does not refer to by itself."""
    by_id = {item.resource.id: item for item in written}
    resources = {id_: item.resource for id_, item in by_id.items()}
    found = []
    for item in written:
        needed = [
            piece.block.address.text
            for id_ in needs(item.resource, resources)
            if by_id[id_].resource.kind != "account"  # whoever needs one refers to it
            for piece in by_id[id_].pieces
            if piece.block.type == "resource"
        ]
        pieces = []
        for piece in item.pieces:
            text = hcl.text([piece.block])
            missing = [Expression(address) for address in needed if not re.search(rf"{re.escape(address)}\b", text)]
            if missing and piece.block.type == "resource":
                attributes = {**piece.block.attributes, "depends_on": missing}
                block = dataclasses.replace(piece.block, attributes=attributes)
                pieces.append(dataclasses.replace(piece, block=block))
            else:
                pieces.append(piece)
        found.append(dataclasses.replace(item, pieces=tuple(pieces)))
    return tuple(found)


def _providers(options: Options) -> Sequence[Block]:
    requirement: dict[str, Value] = {"source": "hashicorp/google", "version": f"~> {PROVIDER_VERSION}"}
    beta: dict[str, Value] = {**requirement, "source": "hashicorp/google-beta"}
    providers = Block("required_providers", (), {"google": requirement, "google-beta": beta})
    where: dict[str, Value] = {"project": Expression("local.project"), "region": Expression("local.region")}
    return (
        Block("terraform", (), {"required_version": ">= 1.5"}, (providers,)),
        Block("provider", ("google",), where),
        # Pub/Sub's service agent is a resource of this provider alone.
        Block("provider", ("google-beta",), where),
        Block("locals", (), {"project": options.project, "region": options.region}),
        Block("data", ("google_project", "this"), {"project_id": Expression("local.project")}),
    )


def _variables(options: Options, image: str) -> Sequence[Block]:
    digest = Expression('can(regex("@sha256:[0-9a-f]{64}$", var.image))')
    error = "Name the image by its digest, PATH@sha256:…, so that every instance runs the same one."
    about_image: dict[str, Value] = {
        "description": "Path and digest of the image that the API and the workers run.",
        "type": Expression("string"),
        "default": image or None,
    }
    about_deletion: dict[str, Value] = {
        "description": "Whether Terraform refuses to delete services, worker pools and jobs.",
        "type": Expression("bool"),
        "default": False,
    }
    validation = Block("validation", (), {"condition": digest, "error_message": error})
    return (
        Block("variable", ("image",), about_image, (validation,)),
        Block("variable", ("deletion_protection",), about_deletion),
    )
