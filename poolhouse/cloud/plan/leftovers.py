"""How everything that a pipeline made is found again: by label, or, where a kind has none, by the mark in its text."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from poolhouse.cloud.gcloud.release_tracks import ReleaseTracks
from poolhouse.cloud.kinds import (
    autoscaler,
    monitoring,
    notifications,
    project,
    pubsub,
    run,
    scheduler,
    storage,
    worker_pools,
)
from poolhouse.cloud.options import ALL_ACCOUNTS, LABEL, Options
from poolhouse.cloud.plan.planner import Snapshot
from poolhouse.cloud.resource import Command, Json, Leftover, LeftoverQuery, Read, Resource, command, flag


def sweeps(options: Options, tracks: ReleaseTracks, *, keep_bucket: bool = True) -> tuple[LeftoverQuery, ...]:
    """The kinds in the order of their removal: first what starts work, then what does it, then what it stands on."""
    region, location = flag("region", options.region), flag("location", options.region)

    def labelled(item: Json) -> bool:
        return bool((item.get("labels") or item.get("metadata", {}).get("labels") or {}).get(LABEL) == options.name)

    def marked(item: Json) -> bool:
        return str(item.get("description", "")).endswith(options.mark)

    def pipeline_policy(item: Json) -> bool:
        return bool(item.get("userLabels", {}).get(LABEL) == options.name)

    def pipeline_dashboard(item: Json) -> bool:
        return LABEL in (item.get("labels") or {}) and _last(item) == f"{options.name}-pipeline"

    def alert_name(item: Json) -> str:
        return f"{options.name}-{item.get('userLabels', {}).get('alert')}"

    def by(
        kind: str,
        read: Read,
        delete: Callable[[Json], Command],
        *,
        ours: Callable[[Json], bool] = labelled,
        name: Callable[[Json], str] = _last,
    ) -> LeftoverQuery:
        def find(raw: Json) -> tuple[Leftover, ...]:
            return tuple(
                Leftover(kind=kind, name=name(item), delete=(delete(item),)) for item in raw or () if ours(item)
            )

        return LeftoverQuery(kind=kind, read=read, find=find)

    found = [
        by(
            "schedule",
            scheduler.listing(options),
            lambda item: command("scheduler", "jobs", "delete", _last(item), location),
            ours=marked,
        ),
        by(
            "service",
            run.services_read(options),
            lambda item: command("run", "services", "delete", _last(item), region),
        ),
        by(
            "pool",
            worker_pools.pools_read(options, tracks),
            lambda item: command(*tracks.worker_pools, "delete", _last(item), region),
        ),
        by("job", run.jobs_read(options), lambda item: command("run", "jobs", "delete", _last(item), region)),
        by(
            "alert",
            monitoring.policies(tracks),
            lambda item: command(*tracks.policies, "delete", item["name"]),
            ours=pipeline_policy,
            name=alert_name,
        ),
        by(
            "dashboard",
            monitoring.DASHBOARDS,
            lambda item: command("monitoring", "dashboards", "delete", _last(item)),
            ours=pipeline_dashboard,
        ),
        by(
            "metric",
            monitoring.METRICS,
            lambda item: command("logging", "metrics", "delete", _last(item)),
            ours=marked,
        ),
        by(
            "subscription",
            pubsub.SUBSCRIPTIONS,
            lambda item: command("pubsub", "subscriptions", "delete", _last(item)),
        ),
        by("topic", pubsub.TOPICS, lambda item: command("pubsub", "topics", "delete", _last(item))),
        by(
            "repository",
            Read(arguments=("artifacts", "repositories", "list", location), api="artifactregistry.googleapis.com"),
            lambda item: command("artifacts", "repositories", "delete", _last(item), location),
        ),
        by(
            "bucket",
            storage.BUCKETS,
            lambda item: command("storage", "rm", "--recursive", f"gs://{item['name']}"),
            # By name too: a deploy that broke off may not have come to the labels.
            ours=lambda item: (
                (labelled(item) or item["name"] in options.buckets)
                and not (keep_bucket and item["name"] == options.bucket)
            ),
        ),
        by(
            "account",
            project.ACCOUNTS,
            lambda item: command("iam", "service-accounts", "delete", item["email"]),
            # Who deploys is not what was deployed: `github-oidc` made it.
            ours=lambda item: marked(item) and item["email"] != options.account("deployer"),
            name=lambda item: str(item["email"]).partition("@")[0],
        ),
    ]
    # After what reads it. Versions first: a parameter that has some can't be deleted.
    return (*found[:4], *_parameters(options, labelled), notifications.left_over(options), *found[4:])


def project_bindings(policy: Json, options: Options) -> tuple[Leftover, ...]:
    """The bindings on the project of accounts that deploys made: they would stay, as bindings of deleted accounts.

    Previews share their accounts, which stay with their bindings when one of them goes.
    """
    if options.shares_accounts:
        return ()
    ours = {f"serviceAccount:{options.made_account(purpose)}" for purpose in ALL_ACCOUNTS}
    found = []
    for binding in (policy or {}).get("bindings", ()):
        for member in binding.get("members", ()):
            if member in ours and "condition" not in binding:
                arguments = ("projects", "remove-iam-policy-binding", options.project)
                delete = command(*arguments, flag("member", member), flag("role", binding["role"]), "--condition=None")
                name = f"{binding['role']} of {member.removeprefix('serviceAccount:')}"
                found.append(Leftover(kind="binding", name=name, delete=(delete,)))
    return tuple(found)


def lasting_grants(
    resources: Iterable[Resource], *, options: Options, keep_bucket: bool = True
) -> tuple[Resource, ...]:
    """The grants on what no destroy removes, where accounts that pipeline.toml names have some.

    Those of previews stay: their accounts and secrets are shared.
    """
    if not options.own_accounts or options.shares_accounts:
        return ()
    bucket = f"bucket/{options.bucket}" if keep_bucket else None
    accounts = {f"account/{email}" for email in options.own_accounts.values()}
    return tuple(
        item
        for item in resources
        if item.kind == "grants"
        and (item.name == bucket or item.name in accounts or item.name.startswith(("project/", "secret/")))
    )


def own_bindings(
    grants: Iterable[Resource], snapshot: Snapshot, *, options: Options, needed: Collection[str] = ()
) -> tuple[Leftover, ...]:
    """What a deploy has granted to accounts that pipeline.toml names, on what stays.

    Args:
        grants: as `lasting_grants` gives them.
        snapshot: what was read.
        options: the choices of the deploy.
        needed: e-mail addresses of accounts that others need: what they may do on the project stays.
    """
    own = set(options.own_accounts.values())
    found = []
    for item in grants:
        has = item.observe(snapshot.get(item.read.arguments)) or {}
        spared = needed if item.name.startswith(("project/", "account/")) else ()
        words = ("remove-iam-policy-binding" if word == "get-iam-policy" else word for word in item.read.arguments)
        arguments = tuple(words)
        for role, members in item.wanted.items():
            held = has.get(role)
            assert isinstance(members, tuple)
            for member in members:
                email = member.removeprefix("serviceAccount:")
                # The autoscaler's right to act as an account that stays goes, whoever made the autoscaler's.
                goes = email in own or item.name.startswith("account/")
                if goes and email not in spared and isinstance(held, tuple) and member in held:
                    delete = command(*arguments, flag("member", member), flag("role", role), "--condition=None")
                    found.append(Leftover(kind="binding", name=f"{role} of {email} on {item.name}", delete=(delete,)))
    return tuple(found)


def _parameters(options: Options, labelled: Callable[[Json], bool]) -> tuple[LeftoverQuery, LeftoverQuery]:
    arguments, where = ("parametermanager", "parameters"), "--location=global"
    holder = f"{options.name}-autoscaler"
    api = autoscaler.PARAMETERS.api

    def versions(raw: Json) -> tuple[Leftover, ...]:
        return tuple(
            Leftover(
                kind="parameter-version",
                name=_last(item),
                delete=(command(*arguments, "versions", "delete", _last(item), flag("parameter", holder), where),),
            )
            for item in raw or ()
        )

    def parameters(raw: Json) -> tuple[Leftover, ...]:
        return tuple(
            Leftover(kind="parameter", name=_last(item), delete=(command(*arguments, "delete", _last(item), where),))
            for item in raw or ()
            if labelled(item)
        )

    read = Read(arguments=(*arguments, "versions", "list", flag("parameter", holder), where), api=api)
    return (
        LeftoverQuery(kind="parameter-version", read=read, find=versions),
        LeftoverQuery(kind="parameter", read=autoscaler.PARAMETERS, find=parameters),
    )


def _last(item: Json) -> str:
    return str(item.get("name") or item["metadata"]["name"]).rpartition("/")[2]
