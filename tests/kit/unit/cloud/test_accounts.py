"""Service accounts of one's own: used, granted what they need, never made, changed or deleted."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from typing import Any

import pytest

from poolhouse.cloud import identity
from poolhouse.cloud.errors import Refused
from poolhouse.cloud.gcloud.release_tracks import ReleaseTracks
from poolhouse.cloud.kinds import project
from poolhouse.cloud.options import ACCOUNTS, Options
from poolhouse.cloud.plan.leftovers import lasting_grants, own_bindings, project_bindings, sweeps
from poolhouse.cloud.plan.planner import decide, plan
from poolhouse.cloud.resource import Json, Resource
from poolhouse.pipeline.config.topology import parse
from poolhouse.pipeline.errors import ConfigError
from tests.kit.unit.cloud.conftest import PIPELINE, Make

WORKER = "orders-worker@some-project.iam.gserviceaccount.com"
API = "orders-api@identities.iam.gserviceaccount.com"
OWN = {"worker": WORKER, "api": API}
MADE = Options(project="some-project", name="shop")
OPTIONS = dataclasses.replace(MADE, own_accounts=OWN)
SECRET = "[secrets]\nTOKEN = 1"


def by_id(resources: Sequence[Resource]) -> dict[str, Resource]:
    return {item.id: item for item in resources}


def grants(resources: Sequence[Resource]) -> dict[str, dict[str, set[str]]]:
    """By what is granted on, the members of each role."""
    return {
        item.name: {role: set(members) for role, members in item.wanted.items() if isinstance(members, tuple)}
        for item in resources
        if item.kind == "grants"
    }


def member(email: str) -> str:
    return f"serviceAccount:{email}"


def policy(**members: Sequence[str]) -> Json:
    """A policy; of roles, the names behind `roles/` with `_` for the dot."""
    return {"etag": "e", "bindings": [{"role": f"roles/{role.replace('_', '.')}", "members": list(each)}
                                      for role, each in members.items()]}  # fmt: skip


def test_what_pipeline_toml_names_runs_and_is_granted_the_same_and_is_not_made(make: Make) -> None:
    choices: dict[str, Any] = {"autoscale": True, "secrets": True, "worker_roles": ("roles/bigquery.jobUser",)}
    declared = parse(f"{PIPELINE}\n{SECRET}")
    made, own = (make(declared, own_accounts=accounts, **choices) for accounts in ({}, OWN))
    renamed = {MADE.member(purpose): member(email) for purpose, email in OWN.items()}
    expected = {
        target.replace("account/shop-worker", f"account/{WORKER}"): {
            role: {renamed.get(each, each) for each in members} for role, members in roles.items()
        }
        for target, roles in grants(made).items()
    }
    assert grants(own) == expected
    found = by_id(own)
    assert found["pool/shop-mail"].wanted["account"] == WORKER
    assert found["service/shop-api"].wanted["account"] == API
    assert f"account/{WORKER}" in found["pool/shop-mail"].after
    assert not found.keys() & {"account/shop-api", "account/shop-worker"}
    assert {found[f"account/{email}"].create for email in OWN.values()} == {()}
    assert [item.id for item in own if item.kind == "account"][:4] == [
        f"account/shop-{purpose}" for purpose in ("dead-letters", "scheduler", "builder", "autoscaler")
    ]


def test_the_declaration_names_them_by_part_and_a_stage_names_others() -> None:
    declared = f'{PIPELINE}\n[deploy.accounts]\ndead_letters = "{WORKER}"\n[stages.prod.deploy.accounts]\napi = "{API}"'
    plain, prod = (Options.declared(parse(declared, stage=name), project="some-project") for name in ("", "prod"))
    assert plain.own_accounts == {"dead-letters": WORKER}
    assert prod.own_accounts == {"api": API, "dead-letters": WORKER}
    assert plain.account("dead-letters") == WORKER


def test_one_account_for_several_parts_is_there_once_and_granted_once(make: Make) -> None:
    one = dict.fromkeys(ACCOUNTS, WORKER)
    resources = make(own_accounts=one, cloud_trace=("api", "worker", "dead-letters"))
    assert [item.id for item in resources if item.kind == "account"] == [f"account/{WORKER}"]
    for item in resources:
        if item.kind == "grants":
            assert all(len(set(members)) == len(members) for members in item.wanted.values())  # type: ignore[arg-type]
    on_project = by_id(resources)["grants/project/some-project"]
    assert len({command.arguments for command in on_project.create}) == len(on_project.create)
    acts = {item.id: item for item in identity.resources(
        identity.Source(repository="org/repo", repository_id=7, owner_id=8),
        options=dataclasses.replace(OPTIONS, own_accounts=one, autoscale=True), project_number="42",
    )}  # fmt: skip
    users = acts[f"grants/account/{WORKER}"].wanted["roles/iam.serviceAccountUser"]
    assert users == tuple(sorted((OPTIONS.member("deployer"), OPTIONS.member("autoscaler"))))


def test_those_that_are_not_there_or_disabled_are_refused_all_of_them(make: Make) -> None:
    resources = [item for item in make(own_accounts=OWN) if item.kind == "account"]
    with pytest.raises(Refused) as refused:
        plan(resources, {})
    second, first = str(refused.value).splitlines()
    assert first.startswith(f"account/{WORKER}: [deploy.accounts] of pipeline.toml names it, and it is not there")
    assert "gcloud iam service-accounts create orders-api --project=identities" in second
    listing = project.ACCOUNTS.arguments
    disabled = by_id(resources)[f"account/{WORKER}"]
    with pytest.raises(Refused, match=f"service-accounts enable {WORKER} --project=some-project"):
        plan([disabled], {listing: [{"email": WORKER, "disabled": True}]})


def test_one_of_another_project_is_read_by_itself_and_named_with_its_project(make: Make) -> None:
    resources = make(own_accounts={"api": API, "builder": API})
    account = by_id(resources)[f"account/{API}"]
    assert account.read.arguments == ("iam", "service-accounts", "describe", API)
    assert decide(account, {"email": API}).verb == "unchanged"
    (build,) = (item.create[0].arguments for item in resources if item.kind == "image")
    assert f"--service-account=projects/identities/serviceAccounts/{API}" in build


def test_on_the_pipelines_own_it_has_what_it_needs_exactly_and_on_the_project_nothing_is_taken(make: Make) -> None:
    found = by_id(make(own_accounts=OWN))
    stray = policy(pubsub_admin=[member(WORKER), "user:ann@example.com"], pubsub_publisher=[MADE.member("worker")])
    (write,) = decide(found["grants/topic/shop-mail"], stray).commands
    written = json.loads(write.files["policy.json"])["bindings"]
    assert {"role": "roles/pubsub.admin", "members": ["user:ann@example.com"]} in written
    (publishers,) = (each["members"] for each in written if each["role"] == "roles/pubsub.publisher")
    assert set(publishers) == {member(API), member(WORKER), MADE.member("dead-letters")}  # and no more the one made
    on_project = found["grants/project/some-project"]
    held = policy(bigquery_user=[member(WORKER)], cloudsql_client=[MADE.member("worker")])
    changes = [command.shown() for command in decide(on_project, held).commands]
    assert len(changes) == 2
    assert re.search(f"add-iam-policy-binding .*{API}", changes[0])
    assert re.search(f"remove-iam-policy-binding .*{MADE.account('worker')}", changes[1])
    assert decide(on_project, policy(bigquery_user=[member(WORKER)], monitoring_viewer=[member(API)])).verb == (
        "unchanged"
    )


def test_the_deployer_acts_as_them_and_what_they_may_do_on_each_other_stays() -> None:
    source = identity.Source(repository="org/repo", repository_id=7, owner_id=8)
    found = by_id(identity.resources(source, options=OPTIONS, project_number="42"))
    acts = {name for name in found if name.startswith("grants/account/") and "deployer" not in name}
    assert acts == {
        f"grants/account/{name}" for name in (WORKER, API, "shop-dead-letters", "shop-scheduler", "shop-builder")
    }
    signs_for_itself = policy(iam_serviceAccountTokenCreator=[member(WORKER)])
    (write,) = decide(found[f"grants/account/{WORKER}"], signs_for_itself).commands
    written = {each["role"]: each["members"] for each in json.loads(write.files["policy.json"])["bindings"]}
    assert written == {
        "roles/iam.serviceAccountTokenCreator": [member(WORKER)],
        "roles/iam.serviceAccountUser": [OPTIONS.member("deployer")],
    }


def test_a_destroy_takes_back_what_stays_and_leaves_the_account_and_what_others_need(make: Make) -> None:
    declared = parse(f"{PIPELINE}\n{SECRET}")
    choices: dict[str, Any] = {"autoscale": True, "secrets": True}
    options = dataclasses.replace(OPTIONS, **choices)
    lasting = lasting_grants(make(declared, own_accounts=OWN, **choices), options=options)
    assert {item.name for item in lasting} == {
        "project/some-project",
        "bucket/some-project-shop",
        "secret/shop-TOKEN",
        f"account/{WORKER}",
    }
    everything = {
        item.read.arguments: {
            "bindings": [{"role": role, "members": [*members, "user:ann@example.com"]}  # type: ignore[misc]
                         for role, members in item.wanted.items()]
            + [{"role": "roles/viewer", "members": [member(WORKER), member(API)]}]
        }
        for item in lasting
    }  # fmt: skip
    taken = {leftover.name for leftover in own_bindings(lasting, everything, options=options)}
    assert taken == {
        f"roles/monitoring.viewer of {API} on project/some-project",
        *(f"roles/storage.objectUser of {email} on bucket/some-project-shop" for email in OWN.values()),
        f"roles/storage.bucketViewer of {API} on bucket/some-project-shop",
        *(f"roles/secretmanager.secretAccessor of {email} on secret/shop-TOKEN" for email in OWN.values()),
        f"roles/iam.serviceAccountUser of {MADE.account('autoscaler')} on account/{WORKER}",
    }
    kept = own_bindings(lasting, everything, options=options, needed={API})
    assert taken - {leftover.name for leftover in kept} == {f"roles/monitoring.viewer of {API} on project/some-project"}
    on_project = everything[("projects", "get-iam-policy", "some-project")]
    assert not any(email in found.name for email in OWN.values() for found in project_bindings(on_project, options))
    (accounts,) = (sweep for sweep in sweeps(options, ReleaseTracks()) if sweep.kind == "account")
    assert accounts.find([{"email": WORKER, "description": "Orders"}]) == ()
    preview = dataclasses.replace(options, name="shop-pr-1", family="shop-pr")
    assert lasting_grants(lasting, options=preview) == ()


def test_a_name_that_deploys_give_themselves_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"deploy\.accounts\.dead_letters: shop-worker@.* `destroy` deletes"):
        dataclasses.replace(MADE, own_accounts={"dead-letters": MADE.account("worker")})
