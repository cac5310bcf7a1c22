from __future__ import annotations

import json

import pytest

from poolhouse.cloud.identity import GIVES, resources, variables
from poolhouse.cloud.options import Options
from poolhouse.cloud.workflows import DEPLOY
from poolhouse.pipeline.errors import ConfigError

OPTIONS = Options(project="some-project", name="shop")


def test_only_one_repository_can_become_the_deployer_and_only_its_owner_gets_a_token() -> None:
    by_kind = {item.id: item for item in resources("org/repo.x", options=OPTIONS, project_number="42")}
    assert by_kind["provider/shop-github"].wanted["condition"] == "assertion.repository_owner == 'org'"
    (members,) = by_kind["grants/account/shop-deployer"].wanted.values()
    assert members == (
        "principalSet://iam.googleapis.com/projects/42/locations/global/workloadIdentityPools/shop-github/"
        "attribute.repository/org/repo.x",
    )


def test_the_deployer_may_only_give_away_what_a_deploy_gives() -> None:
    grants = next(
        item for item in resources("org/repo", options=OPTIONS, project_number="42") if item.name.startswith("project/")
    )
    (give,) = (one for one in grants.create if one.files)
    expression = json.loads(give.files["condition.json"])["expression"]
    assert "roles/resourcemanager.projectIamAdmin" in " ".join(give.words)
    assert all(role in expression for role in GIVES)
    assert "roles/owner" not in expression


def test_the_workflow_names_no_project_and_the_variables_do() -> None:
    values = variables(options=OPTIONS, project_number="42")
    assert "some-project" not in DEPLOY
    assert all(f"vars.{name}" in DEPLOY for name in values)
    assert values["GCP_PROVIDER"].endswith("/providers/shop-github")


@pytest.mark.parametrize("repository", ["repo", "org/repo/more", "org repo", "o'rg/repo"])
def test_what_is_no_repository_is_refused(repository: str) -> None:
    with pytest.raises(ConfigError, match="ORG/REPO"):
        resources(repository, options=OPTIONS, project_number="42")
