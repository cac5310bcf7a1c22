"""Fair queues: which tier a tenant's next task goes to, and how it gets there."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.config.topology import parse
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.messaging import fair_tiers
from poolhouse.pipeline.messaging.fair_tiers import HALF_LIFE_S, TENANT, TIER, FairTiers, tenant_of
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.messaging.publisher import Publisher
from poolhouse.pipeline.timing.timers import Timers
from poolhouse.project import ROOT
from poolhouse.testing.doubles import ManualClock, MemoryStore, MemoryTopics

PIPELINE = """
name = "shop"
[queues.plain]
[queues.fair]
fair_by = "tenant"
fair_weights = { large = 4 }
"""
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Seconds:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "pipeline.toml").write_text(PIPELINE)
    return Settings(
        google_cloud_project="unit-fair",
        bucket_name="unit-fair",
        pipeline_file=str(tmp_path / "pipeline.toml"),
        publish_timeout_s=1,
    )


def task(queue: str = "fair", *, not_before: datetime | None = None, **payload: Any) -> TaskMessage:
    return TaskMessage(
        task_id="t", task_type="report", submitted_at=NOW, queue=queue, payload=payload, not_before=not_before
    )


def topics_of(topics: MemoryTopics) -> list[str]:
    return [published.topic for published in topics.published]


def test_a_flood_fills_the_lowest_tier_and_each_other_one_up_to_its_limit() -> None:
    tiers = FairTiers({}, monotonic=Seconds())
    assert Counter(tiers.next("a") for _ in range(100_000)) == {0: 10, 1: 90, 2: 900, 3: 99_000}
    assert tiers.next("b") == 0


def test_a_quiet_tenant_is_back_in_the_first_tier() -> None:
    clock = Seconds()
    tiers = FairTiers({}, monotonic=clock)
    assert [tiers.next("a") for _ in range(20)][-1] == 1
    clock.now += HALF_LIFE_S
    assert [tiers.next("a"), tiers.next("a")] == [1, 1]  # halved once, not by each task
    clock.now += HALF_LIFE_S
    assert tiers.next("a") == 0


def test_a_tenant_of_weight_four_has_four_times_the_room() -> None:
    tiers = FairTiers({"large": 4}, monotonic=Seconds())
    assert Counter(tiers.next("large") for _ in range(500)) == {0: 40, 1: 360, 2: 100}


def test_the_quietest_tenants_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fair_tiers, "MOST_TENANTS", 2)
    tiers = FairTiers({}, monotonic=Seconds())
    for _ in range(11):
        tiers.next("a")
        tiers.next("b")
    tiers.next("a")
    tiers.next("c")
    assert tiers.next("a") == 1
    assert tiers.next("b") == 0


def test_a_plain_queue_has_one_tier_with_the_names_that_it_had() -> None:
    plain, fair = parse(PIPELINE).queues
    assert plain.tiers == (("shop-plain", "shop-plain-workers"),)
    assert fair.tiers[0] == ("shop-fair", "shop-fair-workers")
    assert fair.tiers[3] == ("shop-fair.tier-3", "shop-fair-workers.tier-3")
    assert len(fair.tiers) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[queues.q]\nfair_weights = { a = 2 }", "without fair_by"),
        ("[queues.q]\nfair_by = 'tenant'\nfair_weights = { a = 0 }", "fair_weights.a"),
        ("[queues.q]\nfair_by = 'a b'", "fair_by"),
    ],
)
def test_bad_declarations_name_the_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"pipeline\.toml:\d.*{message}"):
        parse(text)


@pytest.mark.parametrize(
    ("value", "tenant"),
    [(None, ""), ("", ""), (0, "0"), ("acme", "acme"), ("x" * 100, "x" * 100), ("x" * 101, "x" * 100)],
)
def test_a_tenant_is_what_the_field_holds_as_a_short_text(value: object, tenant: str) -> None:
    assert tenant_of(value) == tenant


def test_each_tenant_is_counted_by_itself(settings: Settings) -> None:
    topics = MemoryTopics()
    publisher = Publisher(settings, topics=topics)
    for _ in range(11):
        publisher.submit(task(tenant="a")).result()
    publisher.submit(task(tenant="b")).result()
    assert topics_of(topics) == [*["shop-fair"] * 10, "shop-fair.tier-1", "shop-fair"]
    assert topics.published[10].message.attributes[TIER] == "1"


def test_tasks_without_a_tenant_are_one_tenant_together(settings: Settings) -> None:
    topics = MemoryTopics()
    publisher = Publisher(settings, topics=topics)
    for number in range(11):
        publisher.submit(task(number=number)).result()
    assert topics_of(topics)[-1] == "shop-fair.tier-1"


def test_a_copy_of_a_message_stays_in_its_tier(settings: Settings) -> None:
    topics = MemoryTopics()
    publisher = Publisher(settings, topics=topics)
    publisher.publish_raw("fair", b"{}", {TENANT: "a", TIER: "3"}).result()
    assert topics_of(topics) == ["shop-fair.tier-3"]


@pytest.mark.parametrize("attributes", [{}, {TIER: "9"}, {TIER: "x"}])
def test_what_is_published_by_hand_goes_to_the_first_tier(settings: Settings, attributes: dict[str, str]) -> None:
    topics = MemoryTopics()
    Publisher(settings, topics=topics).publish_raw("fair", b"{}", attributes).result()
    assert topics_of(topics) == ["shop-fair"]


def test_a_plain_queue_publishes_what_it_did(settings: Settings) -> None:
    topics = MemoryTopics()
    publisher = Publisher(settings, topics=topics)
    for _ in range(20):
        publisher.submit(task("plain", tenant="a")).result()
    assert set(topics_of(topics)) == {"shop-plain"}
    assert topics.published[0].message.attributes == task("plain").attributes()


def test_delayed_tasks_are_counted_when_they_come_due(settings: Settings) -> None:
    topics, store, clock = MemoryTopics(), MemoryStore(), ManualClock()
    publisher = Publisher(settings, topics=topics)
    timers = Timers(store)
    due = clock.now + timedelta(days=1)
    for number in range(12):
        delayed = task(tenant="a", not_before=due)
        timers.put("fair", b"{}", publisher.attributes_of(delayed), task_id=f"t-{number}", not_before=due)
    assert timers.fire(publisher, until=due) == 12
    assert Counter(topics_of(topics)) == {"shop-fair": 10, "shop-fair.tier-1": 2}


def test_the_declaration_of_the_page_is_one() -> None:
    page = (ROOT / "docs" / "fairness.md").read_text(encoding="utf-8")
    [queue] = parse(page.split("```toml\n")[1].split("```")[0]).queues
    assert (queue.fair_by, queue.fair_weights) == ("tenant", {"acme": 4})
