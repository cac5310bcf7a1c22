"""`invoke github-oidc`: GitHub Actions deploys with no key, as one account, from one repository."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from poolhouse.cloud.kinds import project
from poolhouse.cloud.kinds.grants import grants
from poolhouse.cloud.options import Options
from poolhouse.cloud.resource import Command, Fields, Json, Read, Resource, command, flag, read
from poolhouse.pipeline.errors import ConfigError

#: What GitHub's tokens are signed by.
ISSUER = "https://token.actions.githubusercontent.com"
_REPOSITORY = re.compile(r"(?P<owner>[A-Za-z0-9-]+)/(?P<name>[A-Za-z0-9._-]+)")
#: Roles of who deploys, on the project: it makes and removes resources of these kinds.
ROLES = (
    "roles/artifactregistry.admin",
    "roles/cloudbuild.builds.editor",
    "roles/cloudscheduler.admin",
    "roles/iam.serviceAccountAdmin",
    "roles/iam.serviceAccountUser",
    "roles/logging.configWriter",
    "roles/monitoring.editor",
    "roles/pubsub.admin",
    "roles/run.admin",
    "roles/serviceusage.serviceUsageAdmin",
    "roles/storage.admin",
)
#: The only roles that it may give away on the project: those that a deploy gives.
GIVES = (
    "roles/monitoring.viewer",
    "roles/parametermanager.parameterViewer",
    "roles/pubsub.viewer",
    "roles/run.developer",
)
_GIVER = "roles/resourcemanager.projectIamAdmin"


def resources(repository: str, *, options: Options, project_number: str) -> tuple[Resource, ...]:
    """Pool, provider, account and bindings, in an order that respects what they need.

    Args:
        repository: `ORG/REPO` on GitHub.
        options: project and name of the pipeline.
        project_number: number of the project.

    Raises:
        ConfigError: no repository of that form.
    """
    match = _REPOSITORY.fullmatch(repository)
    if match is None:
        raise ConfigError(f"--repo {repository!r}: write the repository as ORG/REPO.")
    pool = _pool(options)
    path = f"projects/{project_number}/locations/global/workloadIdentityPools/{pool.name}"
    member = f"principalSet://iam.googleapis.com/{path}/attribute.repository/{repository}"
    return (
        _apis(options),
        project.account("deployer", f"deploys from {repository}", options=options),
        pool,
        _provider(pool.name, match["owner"], options),
        grants(
            f"account/{options.name}-deployer",
            {"roles/iam.workloadIdentityUser": (member,)},
            options=options,
            words=("iam", "service-accounts"),
            name=options.account("deployer"),
            api="iam",
            also_ours=(member,),
            after=(f"provider/{options.name}-github",),
        ),
        _on_project(options),
    )


def variables(*, options: Options, project_number: str) -> Mapping[str, str]:
    """The repository's variables that deploy.yml reads: none is a secret, and none is in a committed file."""
    pool = f"projects/{project_number}/locations/global/workloadIdentityPools/{_pool(options).name}"
    return {
        "GCP_PROJECT": options.project,
        "GCP_REGION": options.region,
        "GCP_DEPLOYER": options.account("deployer"),
        "GCP_PROVIDER": f"{pool}/providers/{options.name}-github",
    }


def _apis(options: Options) -> Resource:
    names = ("cloudresourcemanager", "iam", "iamcredentials", "sts")
    wanted = tuple(f"{name}.googleapis.com" for name in names)

    def observe(raw: Json) -> Fields | None:
        enabled = {str(item.get("config", {}).get("name", "")) for item in raw or ()}
        return {"enabled": tuple(api for api in wanted if api in enabled)} if enabled & set(wanted) else None

    enable = (command("services", "enable", *wanted),)
    return Resource(
        kind="apis",
        name=options.project,
        wanted={"enabled": wanted},
        read=project.ENABLED,
        observe=observe,
        create=enable,
        update=lambda raw: enable,
    )


def _pool(options: Options) -> Resource:
    name = f"{options.name}-github"
    words = ("iam", "workload-identity-pools")
    return Resource(
        kind="identity-pool",
        name=name,
        wanted={"state": "ACTIVE"},
        read=read(*words, "describe", name, "--location=global", api="iam"),
        observe=lambda raw: {"state": raw.get("state")} if raw else None,
        create=(
            command(*words, "create", name, "--location=global", f"--description=Poolhouse: GitHub {options.mark}"),
        ),
        # A deleted pool keeps its name for 30 days: it is brought back rather than made.
        update=lambda raw: (command(*words, "undelete", name, "--location=global"),),
        after=(f"apis/{options.project}",),
    )


def _provider(pool: str, owner: str, options: Options) -> Resource:
    name = f"{options.name}-github"
    words = ("iam", "workload-identity-pools", "providers")
    mapping = {
        "google.subject": "assertion.sub",
        "attribute.repository": "assertion.repository",
        "attribute.repository_owner": "assertion.repository_owner",
    }
    # Without it every repository on GitHub could ask for a token here; the binding alone would hold them off.
    condition = f"assertion.repository_owner == '{owner}'"
    flags = (
        "--location=global",
        flag("workload-identity-pool", pool),
        flag("attribute-mapping", ",".join(f"{key}={value}" for key, value in mapping.items())),
        flag("attribute-condition", condition),
        flag("issuer-uri", ISSUER),
    )

    def observe(raw: Json) -> Fields | None:
        if not raw:
            return None
        return {
            "condition": raw.get("attributeCondition"),
            "issuer": raw.get("oidc", {}).get("issuerUri"),
            "mapping": json.dumps(raw.get("attributeMapping", {}), sort_keys=True),
        }

    return Resource(
        kind="provider",
        name=name,
        wanted={"condition": condition, "issuer": ISSUER, "mapping": json.dumps(mapping, sort_keys=True)},
        read=Read(
            words=(*words, "describe", name, "--location=global", flag("workload-identity-pool", pool)),
            api="iam.googleapis.com",
            needs=f"identity-pool/{pool}",
        ),
        observe=observe,
        create=(command(*words, "create-oidc", name, *flags),),
        update=lambda raw: (command(*words, "update-oidc", name, *flags),),
        after=(f"identity-pool/{pool}",),
    )


def _on_project(options: Options) -> Resource:
    member = options.member("deployer")
    only = ", ".join(f"'{role}'" for role in GIVES)
    expression = f"api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', []).hasOnly([{only}])"
    condition = json.dumps({"title": f"{options.name}-gives", "expression": expression}, indent=1)

    def held(raw: Json, *, conditional: bool) -> set[str]:
        return {
            str(binding["role"])
            for binding in (raw or {}).get("bindings", ())
            if member in binding.get("members", ()) and ("condition" in binding) == conditional
        }

    def add(role: str) -> Command:
        words = ("projects", "add-iam-policy-binding", options.project, flag("member", member), flag("role", role))
        return command(*words, "--condition=None")

    give = command(
        "projects", "add-iam-policy-binding", options.project, flag("member", member), flag("role", _GIVER),
        "--condition-from-file={file:condition.json}", files={"condition.json": condition},
    )  # fmt: skip

    def observe(raw: Json) -> Fields | None:
        if raw is None:
            return None
        return {
            "roles": tuple(sorted(held(raw, conditional=False) & set(ROLES))),
            "gives": GIVES if _GIVER in held(raw, conditional=True) else (),
        }

    def update(raw: Json) -> tuple[Command, ...]:
        missing = [add(role) for role in ROLES if role not in held(raw, conditional=False)]
        return (*missing, *(() if _GIVER in held(raw, conditional=True) else (give,)))

    return Resource(
        kind="grants",
        name=f"project/{options.project}",
        wanted={"roles": tuple(sorted(ROLES)), "gives": GIVES},
        read=project.policy(options.project),
        observe=observe,
        create=(*(add(role) for role in ROLES), give),
        update=update,
        after=(f"account/{options.name}-deployer",),
    )
