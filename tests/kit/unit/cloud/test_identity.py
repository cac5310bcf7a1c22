from __future__ import annotations

import dataclasses
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from poolhouse.cloud.errors import CloudError
from poolhouse.cloud.github import numbers
from poolhouse.cloud.identity import GIVES, ROLES, Source, resources
from poolhouse.cloud.options import Options
from poolhouse.cloud.plan.planner import decide
from poolhouse.cloud.resource import Resource
from poolhouse.pipeline.config.console_options import Console
from poolhouse.pipeline.errors import ConfigError

OPTIONS = Options(project="some-project", name="shop")


SOURCE = Source(repository="org/repo.x", repository_id=7, owner_id=8)
TOKENS = "principalSet://iam.googleapis.com/projects/42/locations/global/workloadIdentityPools/shop-github/"
DEPLOYER = OPTIONS.member("deployer")


def by_id(options: Options = OPTIONS) -> dict[str, Resource]:
    return {item.id: item for item in resources(SOURCE, options=options, project_number="42")}


def test_only_one_place_of_one_repository_gets_a_token_by_numbers_that_are_never_reused() -> None:
    found = by_id()
    assert found["provider/shop-github"].wanted["condition"] == (
        "assertion.repository_id == '7' && assertion.repository_owner_id == '8' && "
        "assertion.environment == 'production' && assertion.ref == 'refs/heads/main'"
    )
    account = found["grants/account/shop-deployer"].wanted
    assert account["roles/iam.workloadIdentityUser"] == (f"{TOKENS}attribute.repository_id/7",)
    assert not any("org" in str(value) for value in account.values())


def test_all_tags_that_begin_alike_can_be_let_in() -> None:
    source = Source(repository="org/repo", repository_id=7, owner_id=8, environment="live", ref="refs/tags/v*")
    assert source.condition.endswith("assertion.environment == 'live' && assertion.ref.startsWith('refs/tags/v')")


def test_a_repository_that_was_let_in_before_is_let_out() -> None:
    old = f"{TOKENS}attribute.repository/other/repo"
    policy = {
        "bindings": [
            {"role": "roles/iam.workloadIdentityUser", "members": [old]},
            {"role": "roles/iam.serviceAccountTokenCreator", "members": ["user:ann@example.com"]},
        ]
    }
    (command,) = decide(by_id()["grants/account/shop-deployer"], policy).commands
    written = command.files["policy.json"]
    assert old not in written
    assert "user:ann@example.com" in written


def test_the_deployer_acts_as_the_accounts_of_its_pipeline_and_no_other() -> None:
    found = by_id(dataclasses.replace(OPTIONS, autoscale=True))
    on_project = found["grants/project/some-project"].wanted["roles"]
    assert isinstance(on_project, tuple)
    assert not {"roles/iam.serviceAccountUser", "roles/iam.serviceAccountAdmin", "roles/owner"} & set(on_project)
    for purpose in ("api", "worker", "dead-letters", "scheduler", "builder", "autoscaler"):
        users = found[f"grants/account/shop-{purpose}"].wanted["roles/iam.serviceAccountUser"]
        assert isinstance(users, tuple)
        assert DEPLOYER in users
        assert f"account/shop-{purpose}" in found  # made here, since the deployer may not
    assert OPTIONS.member("autoscaler") in str(found["grants/account/shop-worker"].wanted)


def test_the_deployer_of_a_console_says_who_may_open_it() -> None:
    console = Console(deploy=True, operators=("user:ann@example.com",))
    found = by_id(dataclasses.replace(OPTIONS, console=console))
    assert "account/shop-console" in found
    assert "roles/iap.admin" in str(found["grants/project/some-project"].wanted["roles"])
    assert "roles/iap.admin" not in str(by_id()["grants/project/some-project"].wanted["roles"])


def test_roles_of_an_earlier_release_are_taken_back() -> None:
    policy = {"bindings": [{"role": "roles/iam.serviceAccountAdmin", "members": [DEPLOYER]}]}
    commands = [one.shown() for one in decide(by_id()["grants/project/some-project"], policy).commands]
    (removed,) = (line for line in commands if "remove-iam-policy-binding" in line)
    assert "roles/iam.serviceAccountAdmin" in removed
    assert len([line for line in commands if "add-iam-policy-binding" in line]) == len(ROLES) + 1


def test_the_deployer_may_only_give_away_what_a_deploy_gives() -> None:
    (give,) = (one for one in by_id()["grants/project/some-project"].create if one.files)
    expression = json.loads(give.files["condition.json"])["expression"]
    assert "roles/resourcemanager.projectIamAdmin" in " ".join(give.arguments)
    assert all(role in expression for role in GIVES)
    assert "roles/owner" not in expression
    needs = dataclasses.replace(OPTIONS, worker_roles=("roles/bigquery.jobUser", GIVES[0]))
    (give,) = (one for one in by_id(needs)["grants/project/some-project"].create if one.files)
    expression = json.loads(give.files["condition.json"])["expression"]
    assert "'roles/bigquery.jobUser'" in expression
    assert expression.count(GIVES[0]) == 1
    assert "telemetry" not in expression
    traced = dataclasses.replace(OPTIONS, cloud_trace=("worker",))
    (give,) = (one for one in by_id(traced)["grants/project/some-project"].create if one.files)
    assert "'roles/telemetry.tracesWriter'" in give.files["condition.json"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"repository": "repo"}, "ORG/REPO"),
        ({"repository": "o'rg/repo"}, "ORG/REPO"),
        ({"environment": "a' || true || '"}, "--environment"),
        ({"ref": "main"}, "a full ref"),
        ({"ref": "refs/heads/*/x"}, "a full ref"),
        ({"repository_id": 0}, "--repo-id"),
    ],
)
def test_what_would_let_in_others_is_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        dataclasses.replace(SOURCE, **change)  # type: ignore[arg-type]


class GitHub(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        known = self.path == "/repos/org/repo"
        self.send_response(200 if known else 404)
        self.end_headers()
        self.wfile.write(json.dumps({"id": 7, "owner": {"id": 8}} if known else {"message": "Not Found"}).encode())

    def log_message(self, format: str, *args: object) -> None: ...


def test_the_numbers_of_a_public_repository_are_looked_up_and_those_of_a_private_one_asked_for() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), GitHub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        api = f"http://127.0.0.1:{server.server_port}"
        assert numbers("org/repo", api=api) == (7, 8)
        with pytest.raises(CloudError, match="--repo-id"):
            numbers("org/private", api=api)
        server.shutdown()
    with pytest.raises(CloudError, match=r"no answer.*--repo-id"):
        numbers("org/repo", api=api)


def test_a_condition_that_lets_more_be_given_away_is_replaced() -> None:
    resource = by_id()["grants/project/some-project"]
    wide = {"title": "by hand", "expression": "true"}
    bindings = [{"role": role, "members": [DEPLOYER]} for role in resource.wanted["roles"]]  # type: ignore[union-attr]
    giver = {"role": "roles/resourcemanager.projectIamAdmin", "members": [DEPLOYER], "condition": wide}
    remove, add = decide(resource, {"bindings": [*bindings, giver]}).commands
    assert "remove-iam-policy-binding" in remove.arguments
    assert json.loads(remove.files["condition.json"]) == wide
    assert "add-iam-policy-binding" in add.arguments
    right = json.loads(add.files["condition.json"])
    assert all(role in right["expression"] for role in GIVES)
    assert not decide(resource, {"bindings": [*bindings, {**giver, "condition": right}]}).commands


def test_every_deployer_sees_what_another_stages_autoscaler_has() -> None:
    assert "roles/parametermanager.parameterViewer" in by_id()["grants/project/some-project"].wanted["roles"]  # type: ignore[operator]
