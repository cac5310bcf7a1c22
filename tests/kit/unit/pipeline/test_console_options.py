"""[console] of pipeline.toml: who may look, who may act, and what can't be meant."""

from __future__ import annotations

import pytest

from poolhouse.pipeline.config.topology import parse
from poolhouse.pipeline.errors import ConfigError

QUEUES = "[queues.mail]\n"


def refusal(console: str) -> str:
    with pytest.raises(ConfigError) as refused:
        parse(f"{QUEUES}[console]\n{console}")
    return str(refused.value)


def test_without_the_table_nothing_is_deployed() -> None:
    assert not parse(QUEUES).console.deploy


def test_a_stage_deploys_it_for_its_own_people() -> None:
    text = (
        f'{QUEUES}[console]\nviewers = ["group:shop@example.com"]\noperators = ["user:ann@example.com"]\n'
        '[stages.prod.console]\ndeploy = true\noperators = ["domain:ops.example.com", "user:bob@example.com"]'
    )
    assert not parse(text).console.deploy
    prod = parse(text, stage="prod").console
    assert prod.deploy
    assert prod.members == ("group:shop@example.com", "domain:ops.example.com", "user:bob@example.com")


def test_one_that_lets_nobody_in_is_refused() -> None:
    assert refusal("deploy = true").startswith("pipeline.toml:2: console: deploy = true lets nobody in")


def test_a_group_of_operators_is_refused_with_the_reason() -> None:
    text = refusal('operators = ["user:ann@example.com", "group:ops@example.com"]')
    assert text.startswith("pipeline.toml:3: console.operators.1: group:ops@example.com can be among the viewers only")
    assert "never by groups" in text


@pytest.mark.parametrize(
    "member",
    [
        "allUsers",
        "allAuthenticatedUsers",
        "ann@example.com",
        "user:ann",
        "user:ann@example",
        "domain:ann@example.com",
        "user:a@b.co,user:c@d.co",
        "user:a b@example.com",
        "principalSet://iam.googleapis.com/x",
    ],
)
def test_what_is_no_member_or_everybody_is_refused(member: str) -> None:
    for field in ("viewers", "operators"):
        text = refusal(f'{field} = ["{member}"]')
        assert text.startswith(f"pipeline.toml:3: console.{field}.0: user:ADDRESS, ")
