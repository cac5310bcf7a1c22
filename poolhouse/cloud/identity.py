"""`invoke github-oidc`: GitHub Actions deploys with no key, as one account, from one place in one repository."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from poolhouse.cloud.kinds import project, registry
from poolhouse.cloud.kinds.grants import Bindings, grants
from poolhouse.cloud.options import Options
from poolhouse.cloud.resource import Command, Fields, Json, Read, Resource, command, flag, read
from poolhouse.pipeline.errors import ConfigError

#: What GitHub's tokens are signed by.
ISSUER = "https://token.actions.githubusercontent.com"
_REPOSITORY = re.compile(r"[A-Za-z0-9-]+/[A-Za-z0-9._-]+")
_ENVIRONMENT = re.compile(r"[A-Za-z0-9._-]{1,255}")
_REF = re.compile(r"refs/[A-Za-z0-9._/-]+\*?")
#: Roles of who deploys, on the project: it makes and removes resources of these kinds, those of other pipelines too.
#: Google has no narrower ones for most of them: who must not touch a neighbour's topics has a project of its own.
ROLES = (
    "roles/artifactregistry.admin",
    "roles/cloudbuild.builds.editor",
    "roles/cloudscheduler.admin",
    # To see the accounts. It makes none and changes none: `github-oidc` does, as the person who runs it.
    "roles/iam.serviceAccountViewer",
    "roles/logging.configWriter",
    # To compare the releases of a canary.
    "roles/logging.viewer",
    "roles/monitoring.editor",
    # To look for what an autoscaler has left, which another stage of the project may have (Parameter Manager, List
    # parameters).
    "roles/parametermanager.parameterViewer",
    "roles/pubsub.admin",
    "roles/run.admin",
    "roles/serviceusage.serviceUsageAdmin",
    "roles/storage.admin",
    # To attach the bill of materials to an image.
    *registry.BILL_ROLES,
)
#: On top, with an autoscaler: its configuration.
AUTOSCALER_ROLES = ("roles/parametermanager.admin",)
#: On top, with secrets: to see that they are set, and who reads them. Never their values.
SECRET_ROLES = ("roles/secretmanager.viewer",)
#: On top, with a deployed console: to say who may open it.
CONSOLE_ROLES = ("roles/iap.admin",)
#: The only roles that it may give away on the project: those that a deploy gives.
GIVES = (
    "roles/cloudsql.client",
    "roles/monitoring.viewer",
    "roles/parametermanager.parameterViewer",
    "roles/pubsub.viewer",
    "roles/run.developer",
)
#: On top, with Cloud Trace.
TRACE_GIVES = ("roles/telemetry.tracesWriter",)
_GIVER = "roles/resourcemanager.projectIamAdmin"
_ACTS_AS = "roles/iam.serviceAccountUser"


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a deploy may come from.

    Numbers, not names, are compared: a name on GitHub that is given up can be registered by another user.
    """

    #: `ORG/REPO`, for people.
    repository: str
    #: Its number.
    repository_id: int
    #: The number of ORG.
    owner_id: int
    #: The environment that the job must run in: its rules on GitHub say who approves.
    environment: str = "production"
    #: The branch or tag that it must run for, such as `refs/heads/main`; with `*` at its end, all that begin so.
    ref: str = "refs/heads/main"

    def __post_init__(self) -> None:
        """Refuse what would end in a condition that means something else."""
        if not _REPOSITORY.fullmatch(self.repository):
            raise ConfigError(f"--repo {self.repository!r}: write the repository as ORG/REPO.")
        if not _ENVIRONMENT.fullmatch(self.environment):
            raise ConfigError(f"--environment {self.environment!r}: letters, digits, `.`, `_` and `-`.")
        if not _REF.fullmatch(self.ref):
            raise ConfigError(f"--ref {self.ref!r}: a full ref, such as refs/heads/main or refs/tags/v*.")
        if min(self.repository_id, self.owner_id) < 1:
            raise ConfigError("--repo-id and --owner-id: the numbers that `gh api repos/ORG/REPO` shows.")

    @property
    def condition(self) -> str:
        """The condition on a token's claims, in CEL."""
        ref = self.ref.removesuffix("*")
        where = f"assertion.ref.startsWith('{ref}')" if self.ref.endswith("*") else f"assertion.ref == '{ref}'"
        return (
            f"assertion.repository_id == '{self.repository_id}' && "
            f"assertion.repository_owner_id == '{self.owner_id}' && "
            f"assertion.environment == '{self.environment}' && {where}"
        )


def resources(source: Source, *, options: Options, project_number: str) -> tuple[Resource, ...]:
    """Pool, provider, accounts and bindings, in an order that respects what they need.

    Args:
        source: where deploys may come from.
        options: project and name of the pipeline.
        project_number: number of the project.
    """
    pool = _pool(options)
    tokens = f"principalSet://iam.googleapis.com/projects/{project_number}/locations/global/workloadIdentityPools/"
    member = f"{tokens}{pool.name}/attribute.repository_id/{source.repository_id}"
    return (
        _apis(options),
        project.account("deployer", f"deploys from {source.repository}", options=options),
        *project.accounts(options),
        pool,
        _provider(pool.name, source.condition, options),
        _on_account(
            "deployer",
            {
                "roles/iam.workloadIdentityUser": (member,),
                # Its own identity token, for calls of the API after a deploy.
                "roles/iam.serviceAccountOpenIdTokenCreator": (options.member("deployer"),),
            },
            options,
            # Other identities of this pool that had access before.
            also_ours=lambda other: other == options.member("deployer") or other.startswith(f"{tokens}{pool.name}/"),
            after=(f"provider/{options.identity}-github",),
        ),
        *_acts_as(options),
        _on_project(options),
    )


def _acts_as(options: Options) -> Iterator[Resource]:
    """What it deploys runs as these accounts, and as no other of the project."""
    deployer = options.member("deployer")
    scaled = options.account("worker") if options.autoscale else ""
    # Several parts may run as one account.
    for email, purpose in {options.account(purpose): purpose for purpose in options.accounts}.items():
        users = (deployer, *((options.member("autoscaler"),) if email == scaled else ()))
        own = purpose in options.own_accounts
        yield _on_account(purpose, {_ACTS_AS: users}, options, also_ours=deployer.__eq__, exclusive=not own)


def _on_account(purpose: str, bindings: Bindings, options: Options, **more: Any) -> Resource:
    return grants(
        f"account/{options.account_name(purpose)}",
        bindings,
        options=options,
        arguments=("iam", "service-accounts"),
        name=options.account(purpose),
        api="iam",
        **more,
    )


def variables(*, options: Options, project_number: str) -> Mapping[str, str]:
    """The repository's variables that deploy.yml reads: none is a secret, and none is in a committed file."""
    pool = f"projects/{project_number}/locations/global/workloadIdentityPools/{_pool(options).name}"
    return {
        "GCP_PROJECT": options.project,
        "GCP_DEPLOYER": options.account("deployer"),
        "GCP_PROVIDER": f"{pool}/providers/{options.identity}-github",
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
    name = f"{options.identity}-github"
    arguments = ("iam", "workload-identity-pools")
    return Resource(
        kind="identity-pool",
        name=name,
        wanted={"state": "ACTIVE"},
        read=read(*arguments, "describe", name, "--location=global", api="iam"),
        observe=lambda raw: {"state": raw.get("state")} if raw else None,
        create=(
            command(
                *arguments,
                "create",
                name,
                "--location=global",
                f"--description=Poolhouse: GitHub {options.account_mark}",
            ),
        ),
        # A deleted pool keeps its name for 30 days: it is brought back rather than made.
        update=lambda raw: (command(*arguments, "undelete", name, "--location=global"),),
        after=(f"apis/{options.project}",),
    )


def _provider(pool: str, condition: str, options: Options) -> Resource:
    # Without the condition every repository on GitHub could ask for a token here; the binding alone would refuse it.
    name = f"{options.identity}-github"
    arguments = ("iam", "workload-identity-pools", "providers")
    mapping = {"google.subject": "assertion.sub", "attribute.repository_id": "assertion.repository_id"}
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
            arguments=(*arguments, "describe", name, "--location=global", flag("workload-identity-pool", pool)),
            api="iam.googleapis.com",
            needs=f"identity-pool/{pool}",
        ),
        observe=observe,
        create=(command(*arguments, "create-oidc", name, *flags),),
        update=lambda raw: (command(*arguments, "update-oidc", name, *flags),),
        after=(f"identity-pool/{pool}",),
    )


def _on_project(options: Options) -> Resource:
    member = options.member("deployer")
    more = (
        (AUTOSCALER_ROLES, options.autoscale),
        (SECRET_ROLES, options.secrets),
        (CONSOLE_ROLES, options.console is not None),
    )
    roles = tuple(sorted((*ROLES, *(role for group, needed in more if needed for role in group))))
    gives = (*GIVES, *(TRACE_GIVES if options.cloud_trace else ()), *options.worker_roles)
    only = ", ".join(f"'{role}'" for role in dict.fromkeys(gives))
    expression = f"api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', []).hasOnly([{only}])"
    right = {"title": f"{options.identity}-gives", "expression": expression}

    def held(raw: Json, *, conditional: bool) -> set[str]:
        return {
            str(binding["role"])
            for binding in (raw or {}).get("bindings", ())
            if member in binding.get("members", ()) and ("condition" in binding) == conditional
        }

    def change(verb: str, role: str) -> Command:
        arguments = (
            "projects",
            f"{verb}-iam-policy-binding",
            options.project,
            flag("member", member),
            flag("role", role),
        )
        return command(*arguments, "--condition=None")

    def given(raw: Json) -> list[Json]:
        """The conditions under which it may give roles away."""
        return [
            binding["condition"]
            for binding in (raw or {}).get("bindings", ())
            if binding["role"] == _GIVER and member in binding.get("members", ()) and "condition" in binding
        ]

    def give_with(verb: str, condition: Json) -> Command:
        return command(
            "projects", f"{verb}-iam-policy-binding", options.project, flag("member", member), flag("role", _GIVER),
            "--condition-from-file={file:condition.json}",
            files={"condition.json": json.dumps(condition, indent=1)},
        )  # fmt: skip

    def observe(raw: Json) -> Fields | None:
        if raw is None:
            return None
        return {
            "roles": tuple(sorted(held(raw, conditional=False))),
            "gives": tuple(sorted(str(found["expression"]) for found in given(raw))),
        }

    def update(raw: Json) -> tuple[Command, ...]:
        present = held(raw, conditional=False)
        commands = [change("add", role) for role in roles if role not in present]
        commands += [change("remove", role) for role in sorted(present) if role not in roles]
        # IAM takes them together: one condition that lets more through would void the right one.
        foreign = [found for found in given(raw) if found["expression"] != expression]
        commands += [give_with("remove", found) for found in foreign]
        return (*commands, *(() if len(given(raw)) > len(foreign) else (give_with("add", right),)))

    return Resource(
        kind="grants",
        name=f"project/{options.project}",
        wanted={"roles": roles, "gives": (expression,)},
        read=project.policy(options.project),
        observe=observe,
        create=(*(change("add", role) for role in roles), give_with("add", right)),
        update=update,
        after=(f"account/{options.account_id('deployer')}",),
    )
