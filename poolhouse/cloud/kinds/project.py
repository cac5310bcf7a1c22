"""The project itself, and the APIs that are enabled in it."""

from __future__ import annotations

from collections.abc import Iterator

from poolhouse.cloud.gcloud.release_tracks import ReleaseTracks
from poolhouse.cloud.options import Options, project_of
from poolhouse.cloud.resource import Command, Fields, Json, Read, Resource, command, entry, flag, read

#: The APIs that are on. Read before anything else: what is not enabled need not be asked.
ENABLED = Read(arguments=("services", "list", "--enabled"), api="")
#: The service accounts.
ACCOUNTS = Read(arguments=("iam", "service-accounts", "list"), api="iam.googleapis.com")
#: The APIs, and what for.
APIS = {
    "artifactregistry": "the image",
    "cloudbuild": "building it",
    "cloudresourcemanager": "the project's own policy",
    "cloudscheduler": "schedules",
    "containeranalysis": "the image's provenance",
    "iam": "service accounts",
    "logging": "metrics from logs",
    "monitoring": "dashboard, alerts, backlog figures",
    "pubsub": "queues",
    "run": "API and workers",
    "storage": "files, results, records",
}


def describe(project_id: str) -> Read:
    """How the project is read: whether it is there, and its number."""
    return Read(arguments=("projects", "describe", project_id), api="")


def policy(project_id: str) -> Read:
    """How the project's policy is read."""
    return Read(arguments=("projects", "get-iam-policy", project_id), api="cloudresourcemanager.googleapis.com")


def names(options: Options) -> tuple[str, ...]:
    """The APIs that this deploy needs."""
    more = (
        ("iap", options.console is not None),
        ("parametermanager", options.autoscale),
        ("secretmanager", options.secrets),
        # The connection of Cloud Run to Cloud SQL asks it for the instance's certificate (Cloud SQL, Connect from Cloud
        # Run).
        ("sqladmin", bool(options.cloud_sql)),
        # Takes the spans, and keeps none where Cloud Trace is off (Telemetry API, v1.traces overview).
        ("telemetry", bool(options.cloud_trace)),
        ("cloudtrace", bool(options.cloud_trace)),
    )
    return tuple(f"{api}.googleapis.com" for api in sorted((*APIS, *(api for api, needed in more if needed))))


def apis(options: Options) -> Resource:
    """The enabled APIs, as one resource: one call enables all that are missing."""
    wanted = names(options)

    def observe(raw: Json) -> Fields | None:
        enabled = {str(item.get("config", {}).get("name", "")) for item in raw or ()}
        return {"enabled": tuple(api for api in wanted if api in enabled)} if enabled & set(wanted) else None

    def enable(raw: Json) -> tuple[Command, ...]:
        have = observe(raw) or {}
        missing = [api for api in wanted if api not in (have.get("enabled") or ())]  # type: ignore[operator]
        return (command("services", "enable", *missing),)

    return Resource(
        kind="apis",
        name=options.project,
        wanted={"enabled": wanted},
        read=ENABLED,
        observe=observe,
        create=(command("services", "enable", *wanted),),
        update=enable,
    )


def pubsub_agent(member: str, subscription: str, *, options: Options, tracks: ReleaseTracks) -> Resource:
    """The account that Pub/Sub itself forwards dead letters with; arguments as of `service_agent`, and a subscription.

    A deploy that has finished has left it in the policy of every queue's subscription.
    """
    read = Read(
        arguments=("pubsub", "subscriptions", "get-iam-policy", subscription),
        api="pubsub.googleapis.com",
        needs=f"subscription/{subscription}",
    )
    return service_agent("pubsub", member, read=read, options=options, tracks=tracks)


def service_agent(api: str, member: str, *, read: Read, options: Options, tracks: ReleaseTracks) -> Resource:
    """The account of one of Google's services: in a fresh project it is not there until asked for.

    The only sign that it exists is a policy that names it. Asking for it again changes nothing.

    Args:
        api: of the service, short.
        member: the agent, as policies write it.
        read: of a policy that names it once a deploy has finished, and that is read in any case.
        options: the choices of the deploy.
        tracks: the release tracks of the installed gcloud.
    """

    def observe(raw: Json) -> Fields | None:
        named = any(member in binding.get("members", ()) for binding in (raw or {}).get("bindings", ()))
        return {"member": member} if named else None

    return Resource(
        kind="agent",
        name=api,
        wanted={"member": member},
        read=read,
        observe=observe,
        create=(command(*tracks.identity, "create", flag("service", f"{api}.googleapis.com")),),
        after=(f"apis/{options.project}",),
    )


def accounts(options: Options) -> Iterator[Resource]:
    """The service accounts of all parts: those that a deploy makes, and those that are there, each once."""
    for purpose, description in options.accounts.items():
        if purpose not in options.own_accounts:
            yield account(purpose, description, options=options)
    for email in dict.fromkeys(options.own_accounts[each] for each in options.accounts if each in options.own_accounts):
        yield _account_of_ones_own(email, options=options)


def _account_of_ones_own(email: str, *, options: Options) -> Resource:
    """An account that pipeline.toml names: never made, changed or deleted."""
    name, of = email.partition("@")[0], project_of(email)
    here = of == options.project

    def observe(raw: Json) -> Fields | None:
        listed = (raw or ()) if here else (raw,)
        found = next((item for item in listed if item and item.get("email") == email), None)
        return None if found is None else {"disabled": bool(found.get("disabled", False))}

    return Resource(
        kind="account",
        name=email,
        wanted={"disabled": False},
        read=ACCOUNTS if here else read("iam", "service-accounts", "describe", email, api="iam"),
        observe=observe,
        create=(),
        after=(f"apis/{options.project}",),
        absent=(
            "[deploy.accounts] of pipeline.toml names it, and it is not there: "
            f"`gcloud iam service-accounts create {name} --project={of}` makes it; or leave it out, and a deploy makes "
            f"one of the pipeline's. (It is looked for by the IAM API, which must be enabled in {options.project}.)"
        ),
        fixed={"disabled": f"`gcloud iam service-accounts enable {email} --project={of}`, or name another"},
    )


def account(purpose: str, description: str, *, options: Options) -> Resource:
    """A service account of its own for one purpose."""
    account_id = options.account_id(purpose)
    description = f"Poolhouse: {description} {options.account_mark}"
    name = f"{options.identity} {purpose}"

    def observe(raw: Json) -> Fields | None:
        emails = [{**item, "id": str(item.get("email", "")).partition("@")[0]} for item in raw or ()]
        found = entry(emails, "id", account_id)
        if found is None:
            return None
        return {"description": found.get("description", ""), "disabled": bool(found.get("disabled", False))}

    def update(raw: Json) -> tuple[Command, ...]:
        change = command(
            "iam", "service-accounts", "update", options.made_account(purpose),
            flag("display-name", name), flag("description", description),
        )  # fmt: skip
        disabled = bool((observe(raw) or {}).get("disabled"))
        enable = command("iam", "service-accounts", "enable", options.made_account(purpose))
        return (change, *((enable,) if disabled else ()))

    return Resource(
        kind="account",
        name=account_id,
        wanted={"description": description, "disabled": False},
        read=ACCOUNTS,
        observe=observe,
        create=(
            command(
                "iam", "service-accounts", "create", account_id,
                flag("display-name", name), flag("description", description),
            ),
        ),
        update=update,
        after=(f"apis/{options.project}",),
    )  # fmt: skip
