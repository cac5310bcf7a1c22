from __future__ import annotations

import pytest

from poolhouse.pipeline.config.topology import parse
from poolhouse.pipeline.errors import ConfigError

TEXT = """
name = "shop"

[deploy]
region = "us-east1"
origins = ["https://example.com"]

[deploy.api]
max_instances = 5

[queues.mail.workers]
cpu = 2
max_instances = 3

[schedules.nightly]
cron = "30 3 * * *"
task_type = "send_mail"

[stages.staging]

[stages.prod]
name = "shop-live"
ref = "refs/tags/v*"
deploy = { public = "read", origins = [], api = { min_instances = 1 } }

[stages.prod.queues.mail.workers]
max_instances = 30

[stages."pr-*"]
deploy = { workers = "job" }
"""


def test_a_stage_is_the_declaration_with_some_of_it_changed() -> None:
    base, prod = parse(TEXT), parse(TEXT, stage="prod")
    assert (base.name, prod.name) == ("shop", "shop-live")
    assert (prod.deploy.public, prod.deploy.region, prod.deploy.origins) == ("read", "us-east1", ())
    assert (prod.deploy.api.min_instances, prod.deploy.api.max_instances) == (1, 5)
    assert (prod.queues[0].workers.cpu, prod.queues[0].workers.max_instances) == (2, 30)
    assert base.queues[0].workers.max_instances == 3
    assert prod.queues[0].topic == "shop-live-mail"
    assert prod.stage.ref == "refs/tags/v*"


def test_a_stage_is_named_after_the_pipeline_and_itself() -> None:
    assert parse(TEXT, stage="staging").queues[0].subscription == "shop-staging-mail-workers"


@pytest.mark.parametrize("name", ["pr-12", "pr-x1"])
def test_a_pattern_makes_a_stage_of_every_name_that_fits(name: str) -> None:
    preview = parse(TEXT, stage=name)
    assert preview.name == f"shop-{name}"
    assert preview.deploy.workers == "job"
    assert preview.stage.preview
    assert preview.stage.family == "shop-pr"


@pytest.mark.parametrize("name", ["live", "pr-", "pr-*", "pr-A", "pr-1-", "pr-../x", "Prod"])
def test_a_stage_that_is_not_declared_is_reported_with_those_that_are(name: str) -> None:
    with pytest.raises(
        ConfigError, match=r"there is no stage .*\[stages\.staging\], \[stages\.prod\], \[stages\.pr-\*\]"
    ):
        parse(TEXT, stage=name)


@pytest.mark.parametrize(
    ("change", "line", "words"),
    [
        ("[stages.x.queues.mail.workers]\ncpu = 3", 3, "stages.x.queues.mail.workers.cpu: .* not 3"),
        ("[stages.x]\ndeploy = { regoin = 'us-east1' }", 3, "stages.x.deploy.regoin: unknown field .*region"),
        ("[stages.x]\ndeploy = { workers = 'job', autoscale = true }", 3, "autoscale is for workers"),
        ("[stages.x]\nqueue = 1", 3, "unknown field 'queue'"),
        ("[stages.'x-*']\nname = 'y'", 3, "leave `name` out"),
        ("[stages.'*-x']", 2, "with one . at the end"),
        ("[stages]\nx = 1", 3, r"as in \[stages.NAME\]"),
        ("[stages.x]\nname = 'shop'", 2, "two stages have the prefix"),
        ("[stages.mail]", 2, "of the same name as 'shop' with its 'mail'"),
        ("[stages.build]", 2, "of the same name as 'shop' with its 'build'"),
        ("[stages.dead]", 2, "of the same name as 'shop' with its 'dead-letters'"),
        ("[stages.run]", 2, "of the same name as 'shop' with its 'run-mail'"),
    ],
)
def test_a_mistake_in_a_stage_is_reported_for_any_stage(change: str, line: int, words: str) -> None:
    text = f"name = 'shop'\n{change}\n[queues.mail]"
    with pytest.raises(ConfigError, match=rf"(?s)^pipeline.toml:{line}: .*{words}"):
        parse(text)


def test_a_deploy_without_a_pool_can_not_scale() -> None:
    with pytest.raises(ConfigError, match=r"pipeline\.toml:1: deploy: autoscale is for"):
        parse("[deploy]\nworkers = 'job'\nautoscale = true\n[queues.a]")
