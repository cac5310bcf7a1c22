"""A fair queue on Google Cloud: every part of the plan knows its tiers."""

from __future__ import annotations

import json

import pytest

from poolhouse.cloud.kinds import autoscaler
from poolhouse.cloud.options import Options
from poolhouse.pipeline.config.topology import Topology, parse
from tests.kit.unit.cloud.conftest import PIPELINE, Make

FAIR = PIPELINE.replace("[queues.mail]", '[queues.mail]\nfair_by = "tenant"')
TOPICS = ["shop-mail", *(f"shop-mail.tier-{number}" for number in (1, 2, 3))]
SUBSCRIPTIONS = ["shop-mail-workers", *(f"shop-mail-workers.tier-{number}" for number in (1, 2, 3))]


@pytest.fixture
def topology() -> Topology:
    return parse(FAIR)


def test_each_tier_is_made_and_granted_as_the_queue_is(make: Make) -> None:
    plain = {resource.id: resource for resource in make(parse(PIPELINE))}
    fair = {resource.id: resource for resource in make()}
    added = {name for name in fair if ".tier-" in name}
    assert {name for name in added if name.startswith("topic/")} == {f"topic/{topic}" for topic in TOPICS[1:]}
    assert {name for name in added if name.startswith("subscription/")} == {
        f"subscription/{subscription}" for subscription in SUBSCRIPTIONS[1:]
    }
    for number in (1, 2, 3):
        tier, first = (fair[f"subscription/shop-mail-workers{suffix}"] for suffix in (f".tier-{number}", ""))
        assert {**tier.wanted, "topic": "shop-mail"} == first.wanted
        assert tier.wanted["topic"] == f"shop-mail.tier-{number}"
        assert fair[f"grants/subscription/shop-mail-workers.tier-{number}"].wanted == (
            plain["grants/subscription/shop-mail-workers"].wanted
        )
        assert fair[f"grants/topic/shop-mail.tier-{number}"].wanted == plain["grants/topic/shop-mail"].wanted
    assert plain.keys() == fair.keys() - added
    assert {f"grants/subscription/{name}" for name in SUBSCRIPTIONS} <= set(fair["pool/shop-mail"].after)
    assert {f"grants/topic/{name}" for name in TOPICS} <= set(fair["service/shop-api"].after)


def test_the_autoscaler_looks_at_every_tier(topology: Topology) -> None:
    config = json.loads(autoscaler.config(topology, Options(project="some-project", name="shop")))
    [scaled] = config["spec"]["scaledObjects"]
    names = [trigger["metadata"]["subscriptionName"].rpartition("/")[2] for trigger in scaled["spec"]["triggers"]]
    assert names == SUBSCRIPTIONS
    assert len({trigger["name"] for trigger in scaled["spec"]["triggers"]}) == 4


def test_alerts_and_charts_look_at_every_tier(make: Make) -> None:
    watching = [str(resource.wanted) for resource in make() if resource.kind in {"alert", "policy", "dashboard"}]
    assert watching
    assert any(all(name in text for name in SUBSCRIPTIONS) for text in watching)
