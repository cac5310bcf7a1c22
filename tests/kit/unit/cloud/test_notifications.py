"""What Cloud Storage tells the queues of on Google Cloud."""

from __future__ import annotations

from typing import Any

from poolhouse.cloud.kinds import notifications
from poolhouse.cloud.options import Options
from poolhouse.cloud.plan.planner import decide
from poolhouse.pipeline.config.topology import Topology, parse
from tests.kit.unit.cloud.conftest import NUMBER, PIPELINE, Make
from tests.kit.unit.cloud.test_catalogue import by_id, grants_of

OPTIONS = Options(project="some-project", name="shop")
AGENT = f"serviceAccount:service-{NUMBER}@gs-project-accounts.iam.gserviceaccount.com"
TRIGGERS = """
[triggers.tables]
prefix = "uploads/in/"
suffix = ".csv"
task_type = "send_mail"
[triggers.images]
prefix = "uploads/img/"
task_type = "send_mail"
"""


def declared() -> Topology:
    return parse(PIPELINE + TRIGGERS)


def configuration(number: int, prefix: str, topic: str = "shop-mail", **changes: Any) -> dict[str, Any]:
    item = {
        "id": str(number),
        "topic": f"//pubsub.googleapis.com/projects/some-project/topics/{topic}",
        "event_types": ["OBJECT_FINALIZE"],
        "object_name_prefix": prefix,
        "payload_format": "NONE",
        **changes,
    }
    return {"Bucket URL": "gs://some-project-shop/", "Notification Configuration": item}


def commands(raw: Any) -> list[str]:
    wanted = notifications.notifications(declared(), options=OPTIONS)
    return [one.shown() for one in decide(wanted, raw).commands]


def test_without_triggers_nobody_is_told_and_no_agent_is_asked_for(make: Make) -> None:
    resources = make()
    assert not any(item.kind == "notifications" or item.id == "agent/storage" for item in resources)
    assert grants_of(resources, AGENT) == {}


def test_the_agent_may_publish_to_the_topics_that_are_told_and_to_no_other(make: Make) -> None:
    assert grants_of(make(declared()), AGENT) == {"topic/shop-mail": {"roles/pubsub.publisher"}}
    told = by_id(make(declared()), "notifications/some-project-shop")
    assert "grants/topic/shop-mail" in told.after
    assert "agent/storage" in by_id(make(declared()), "grants/topic/shop-mail").after


def test_each_folder_is_told_of_once() -> None:
    created = commands([])
    assert len(created) == 2
    assert created[0] == (
        "gcloud storage buckets notifications create gs://some-project-shop --topic=shop-mail "
        "--event-types=OBJECT_FINALIZE --object-prefix=uploads/img/ --payload-format=none --skip-topic-setup"
    )
    assert commands([configuration(1, "uploads/in/"), configuration(2, "uploads/img/")]) == []


def test_what_was_changed_by_hand_is_put_back_and_what_others_send_elsewhere_is_left() -> None:
    others = configuration(9, "uploads/in/", topic="somebodys")
    changed = [
        configuration(1, "uploads/in/"),
        configuration(2, "uploads/in/"),
        configuration(3, "uploads/img/", event_types=["OBJECT_DELETE"]),
        configuration(4, "uploads/old/"),
        others,
    ]
    done = commands(changed)
    assert [line for line in done if " create " in line] == [line for line in commands([]) if "uploads/img/" in line]
    assert [line.rpartition("/")[2] for line in done if " delete " in line] == ["2", "3", "4"]


def test_events_without_a_trigger_are_left_over() -> None:
    query = notifications.left_over(OPTIONS)
    (found,) = query.find([configuration(1, "uploads/in/"), configuration(2, "x", topic="somebodys")])
    assert found.id == "notifications/some-project-shop"
    assert [one.shown().rpartition("/")[2] for one in found.delete] == ["1"]
    assert query.find([]) == ()
