from __future__ import annotations

import json
from typing import Any

import pytest

from poolhouse.cloud.options import Options
from poolhouse.cloud.plan.leftovers import project_bindings
from poolhouse.cloud.plan.planner import plan
from poolhouse.cloud.stage_list import rows
from poolhouse.pipeline.config.topology import load_all, parse
from poolhouse.pipeline.errors import ConfigError
from tests.kit.unit.cloud.conftest import Make

TEXT = """
name = "shop"
[queues.mail]
[deploy]
project = "some-project"
region = "us-east1"
[stages.prod]
[stages."pr-*"]
"""


def service(prefix: str, *, ready: bool = True) -> dict[str, Any]:
    condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": "2026-11-29T10:00:00.123Z"}
    labels = {"poolhouse": prefix, "cloud.googleapis.com/location": "us-east1"}
    return {"metadata": {"name": f"{prefix}-api", "labels": labels}, "status": {"conditions": [condition]}}


def test_stages_are_shown_with_what_is_deployed_of_them(tmp_path: Any) -> None:
    (tmp_path / "pipeline.toml").write_text(TEXT)
    services = [service("shop-prod"), service("shop-pr-12", ready=False), service("shop-old"), service("shop-pr-3")]
    buckets = [{"name": "b", "location": "US-EAST1", "labels": {"poolhouse": "shop"}}]
    found = rows(load_all(tmp_path / "pipeline.toml"), services=services, buckets=buckets)
    assert [(row.stage, row.prefix, row.state) for row in found] == [
        ("(none)", "shop", "bucket, no API"),
        ("prod", "shop-prod", "ready"),
        ("pr-12", "shop-pr-12", "not ready"),
        ("pr-3", "shop-pr-3", "ready"),
        ("?", "shop-old", "ready"),
    ]
    assert {row.region for row in found} == {"us-east1"}
    empty = rows(load_all(tmp_path / "pipeline.toml"), services=None, buckets=None)
    assert [(row.stage, row.state) for row in empty] == [("(none)", "not deployed"), ("prod", "not deployed")]


def test_options_are_those_of_the_declaration() -> None:
    text = TEXT + "[stages.prod.deploy]\npublic = 'read'\napi = { min_instances = 2 }\n"
    options = Options.declared(parse(text, stage="prod"))
    assert (options.project, options.region, options.name) == ("some-project", "us-east1", "shop-prod")
    assert (options.public, options.api.min_instances, options.stage) == (True, 2, "prod")
    assert Options.declared(parse(text), project="other-project").project == "other-project"
    with pytest.raises(ConfigError, match="no project: name it by --project"):
        Options.declared(parse("[queues.a]"))


def test_previews_share_their_accounts_which_stay_when_one_of_them_goes(make: Make) -> None:
    one, two = (Options.declared(parse(TEXT, stage=name)) for name in ("pr-1", "pr-2"))
    assert one.account("api") == two.account("api") == "shop-pr-api@some-project.iam.gserviceaccount.com"
    assert one.bucket != two.bucket
    policy = {"bindings": [{"role": "roles/monitoring.viewer", "members": [one.member("api")]}]}
    assert project_bindings(policy, one) == ()
    assert len(project_bindings(policy, Options(project="some-project", name="shop-pr"))) == 1


def test_the_processes_of_a_stage_know_its_name(make: Make) -> None:
    created = plan(make(parse(TEXT, stage="prod"), stage="prod"), {}).commands
    runs = [command.shown() for command in created if "--set-env-vars" in command.shown()]
    assert len(runs) == 2  # API and dead letters
    assert all("PIPELINE_STAGE=prod" in line for line in runs)
    (pool,) = (text for command in created for name, text in command.files.items() if name.endswith("mail.json"))
    variable = {"name": "PIPELINE_STAGE", "value": "prod"}
    assert variable in json.loads(pool)["spec"]["template"]["spec"]["containers"][0]["env"]
    assert not any("PIPELINE_STAGE" in command.shown() for command in plan(make(), {}).commands)
