"""Who may do what on one resource: read, merged and written with its etag, so that others' bindings stay.

A policy is changed as a whole, by one command for a resource, never by two at a time: the etag makes a change that
was made in between a conflict, and a conflict is read again and merged anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from typing import Literal

from poolhouse.cloud.kinds import project
from poolhouse.cloud.options import ALL_ACCOUNTS, Options
from poolhouse.cloud.resource import Command, Fields, Json, Read, Resource, command, flag

#: Ends of the names of service agents that a deploy gives roles to.
_AGENTS = tuple(f"@{part}.iam.gserviceaccount.com" for part in ("gcp-sa-pubsub", "gcp-sa-iap", "gs-project-accounts"))
#: Role to members.
Bindings = Mapping[str, tuple[str, ...]]


def managed(options: Options, *, exclusive: bool = True) -> Callable[[str], bool]:
    """Whether a member is this pipeline's business: its accounts, and the service agents that a deploy asks for.

    Args:
        options: the choices of the deploy.
        exclusive: whether it is about something that is the pipeline's alone. On anything else, the accounts that
            pipeline.toml names may have roles for other reasons, which no deploy takes away.
    """
    made = {f"serviceAccount:{options.made_account(purpose)}" for purpose in ALL_ACCOUNTS}
    ours = made | ({options.member(purpose) for purpose in ALL_ACCOUNTS} if exclusive else set())
    return lambda member: member in ours or (member.startswith("serviceAccount:service-") and member.endswith(_AGENTS))


def merge(policy: Json, wanted: Bindings, *, ours: Callable[[str], bool], sole: Collection[str] = ()) -> Json:
    """The policy with our members exactly where `wanted` has them, and all else as it was (conditions and etag too).

    Args:
        policy: as it is.
        wanted: role to members.
        ours: whether a member is this pipeline's business.
        sole: roles whose members all are.
    """
    bindings = []
    left = {role: set(members) for role, members in wanted.items()}
    for binding in policy.get("bindings", ()):
        if "condition" in binding:
            bindings.append(binding)
            continue
        role = binding["role"]
        others = {member for member in binding.get("members", ()) if role not in sole and not ours(member)}
        members = others | left.pop(role, set())
        if members:
            bindings.append({"role": role, "members": sorted(members)})
    bindings.extend({"role": role, "members": sorted(members)} for role, members in left.items() if members)
    return {**policy, "bindings": bindings}


def observed(policy: Json, *, wanted: Bindings, ours: Callable[[str], bool], sole: Collection[str] = ()) -> Fields:
    """The wanted members of each role, and ours that hold one without being meant to; arguments as of `merge`."""
    found: dict[str, set[str]] = {role: set() for role in wanted}
    for binding in (policy or {}).get("bindings", ()):
        role, meant = binding["role"], wanted.get(binding["role"], ())
        mine = {member for member in binding.get("members", ()) if role in sole or ours(member) or member in meant}
        if mine and "condition" not in binding:
            found.setdefault(binding["role"], set()).update(mine)
    return {role: tuple(sorted(members)) for role, members in found.items()}


def grants(
    target: str,
    wanted: Bindings,
    *,
    options: Options,
    arguments: tuple[str, ...],
    name: str,
    api: str,
    more: tuple[str, ...] = (),
    starts: Literal["empty", "filled"] = "empty",
    exclusive: bool = True,
    also_ours: Callable[[str], bool] = lambda member: False,
    sole: Collection[str] = (),
    on: str = "",
    after: tuple[str, ...] = (),
) -> Resource:
    """The bindings on one resource.

    Args:
        target: id of the resource in the plan, where `on` names no other.
        wanted: role to members.
        options: the choices of the deploy.
        arguments: the command group, such as `("pubsub", "topics")`.
        name: the resource as the command group names it; empty where flags do.
        api: API that it belongs to, short.
        more: further flags, such as the region.
        starts: whether a fresh resource has no bindings at all, so that a policy can be set without a reading; or has
            some of its own (a bucket's owners), so that ours are added one by one.
        exclusive: whether the resource is the pipeline's alone, as `managed` has it.
        also_ours: whether a member is managed here though it is no account of ours (allUsers).
        sole: roles whose members are those that are wanted and nobody else.
        on: id of the resource in the plan, where it has another policy that is called after it.
        after: ids of further resources that must be in place first.
    """
    is_account, on = managed(options, exclusive=exclusive), on or target
    named = (name,) if name else ()

    def ours(member: str) -> bool:
        return is_account(member) or also_ours(member)

    def write(policy: Json) -> Command:
        if "etag" in policy:
            # gcloud prints etags in the alphabet for URLs, and `storage buckets set-iam-policy` crashes on that (528).
            policy = {**policy, "etag": policy["etag"].translate(str.maketrans("-_", "+/"))}
        text = json.dumps(policy, indent=1, sort_keys=True)
        return command(*arguments, "set-iam-policy", *named, "{file:policy.json}", *more, files={"policy.json": text})

    def add(role: str, member: str) -> Command:
        return command(*arguments, "add-iam-policy-binding", *named, flag("member", member), flag("role", role), *more)

    if starts == "empty":
        create: tuple[Command, ...] = (write({"bindings": merge({}, wanted, ours=ours)["bindings"]}),)
    else:
        create = tuple(add(role, member) for role, members in wanted.items() for member in dict.fromkeys(members))
    return Resource(
        kind="grants",
        name=target,
        wanted={role: tuple(sorted(set(members))) for role, members in wanted.items()},
        read=Read(arguments=(*arguments, "get-iam-policy", *named, *more), api=f"{api}.googleapis.com", needs=on),
        observe=lambda raw: None if raw is None else observed(raw, wanted=wanted, ours=ours, sole=sole),
        create=create,
        update=lambda raw: (write(merge(raw, wanted, ours=ours, sole=sole)),),
        after=(on, *(f"account/{options.account_name(purpose)}" for purpose in options.accounts), *after),
    )


def project_grants(wanted: Bindings, *, options: Options) -> Resource:
    """The few bindings on the project: added one by one, since a project's policy is too precious to be set whole."""
    wanted = {role: tuple(dict.fromkeys(members)) for role, members in wanted.items()}
    is_account = managed(options, exclusive=False)

    def ours(member: str) -> bool:
        # The agents' bindings on the project are Google's own.
        return is_account(member) and not member.startswith("serviceAccount:service-")

    def change(verb: str, role: str, member: str) -> Command:
        return command(
            "projects", f"{verb}-iam-policy-binding", options.project,
            flag("member", member), flag("role", role), "--condition=None",
        )  # fmt: skip

    def update(raw: Json) -> tuple[Command, ...]:
        have = observed(raw, wanted=wanted, ours=ours)
        commands = []
        for role, members in have.items():
            assert isinstance(members, tuple)
            keep = wanted.get(role, ())
            commands += [change("add", role, member) for member in keep if member not in members]
            commands += [change("remove", role, member) for member in members if member not in keep]
        return tuple(commands)

    return Resource(
        kind="grants",
        name=f"project/{options.project}",
        wanted={role: tuple(sorted(members)) for role, members in wanted.items()},
        read=project.policy(options.project),
        observe=lambda raw: None if raw is None else observed(raw, wanted=wanted, ours=ours),
        create=tuple(change("add", role, member) for role, members in wanted.items() for member in members),
        update=update,
        after=tuple(f"account/{options.account_name(purpose)}" for purpose in options.accounts),
    )
