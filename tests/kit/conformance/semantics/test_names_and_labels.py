"""Names, labels, paging and masks (section 1 of the specification)."""

from __future__ import annotations

import pytest

from tests.kit.conformance.semantics.targets import Project, refused


@pytest.mark.parametrize("id", ["ab", "1abc", "-abc", "googlish", "a" * 256, "sp ace", "uml\u00e4ut", "a/b/c"])
def test_a_malformed_topic_id_is_refused(project: Project, id: str) -> None:
    with refused("INVALID_ARGUMENT"):
        project.topic(id)


@pytest.mark.parametrize("id", ["ab", "1abc", "googlish", "a" * 256, "sp ace"])
def test_the_ids_of_other_resources_have_the_same_rule(project: Project, id: str) -> None:
    name = project.subscription()
    with refused("INVALID_ARGUMENT"):
        project.subscription(id)
    with refused("INVALID_ARGUMENT"):
        project.subscriber.create_snapshot(name=project.name("snapshots", id), subscription=name)
    schema = {"type_": "AVRO", "definition": '{"type": "record", "name": "A", "fields": []}'}
    with refused("INVALID_ARGUMENT"):
        project.clients.schemas.create_schema(parent=project.path, schema=schema, schema_id=id)


@pytest.mark.parametrize("id", ["abc", "A-b_c.d~e+f%20", "a" * 255, "Googabc"])
def test_a_well_formed_topic_id_is_taken(project: Project, id: str) -> None:
    assert project.topic(id) == project.name("topics", id)


def test_a_malformed_name_is_an_argument_error_and_an_absent_one_is_not_found(project: Project) -> None:
    with refused("INVALID_ARGUMENT"):
        project.publisher.get_topic(topic="nonsense")
    with refused("NOT_FOUND"):
        project.publisher.get_topic(topic=project.name("topics", "absent"))
    with refused("INVALID_ARGUMENT"):
        project.subscriber.get_subscription(subscription=project.name("topics", "wrong-kind"))
    with refused("NOT_FOUND"):
        project.subscriber.get_subscription(subscription=project.name("subscriptions", "absent"))


CALLS = {
    "CreateTopic": lambda p, n: p.publisher.create_topic(name=n),
    "UpdateTopic": lambda p, n: p.publisher.update_topic(
        {"topic": {"name": n}, "update_mask": {"paths": ["message_retention_duration"]}}
    ),
    "DeleteTopic": lambda p, n: p.publisher.delete_topic(topic=n),
    "Publish": lambda p, n: p.publisher.publish(topic=n, messages=[{"data": b"a"}]),
    "CreateSubscription": lambda p, n: p.subscriber.create_subscription(name=n, topic=p.topic()),
    "UpdateSubscription": lambda p, n: p.subscriber.update_subscription(
        {"subscription": {"name": n}, "update_mask": {"paths": ["ack_deadline_seconds"]}}
    ),
    "DeleteSubscription": lambda p, n: p.subscriber.delete_subscription(subscription=n),
    "ModifyPushConfig": lambda p, n: p.subscriber.modify_push_config(subscription=n, push_config={}),
    "Pull": lambda p, n: p.pull_now(n),
    "Acknowledge": lambda p, n: p.subscriber.acknowledge(subscription=n, ack_ids=["x"]),
    "ModifyAckDeadline": lambda p, n: p.subscriber.modify_ack_deadline(
        subscription=n, ack_ids=["x"], ack_deadline_seconds=10
    ),
    "Seek": lambda p, n: p.subscriber.seek({"subscription": n, "time": {"seconds": 1_800_000_000}}),
    "CreateSnapshot": lambda p, n: p.subscriber.create_snapshot(name=p.name("snapshots", "snapshot"), subscription=n),
    "GetSnapshot": lambda p, n: p.subscriber.get_snapshot(snapshot=n),
    "DeleteSnapshot": lambda p, n: p.subscriber.delete_snapshot(snapshot=n),
    "GetSchema": lambda p, n: p.clients.schemas.get_schema(name=n),
    "DeleteSchema": lambda p, n: p.clients.schemas.delete_schema(name=n),
    "ListSchemaRevisions": lambda p, n: p.clients.schemas.list_schema_revisions({"name": n}),
}
_KINDS = {"Topic": "topics", "Publish": "topics", "Snapshot": "snapshots", "Schema": "schemas"}


def kind_of(call: str) -> str:
    if call == "CreateSnapshot":
        return "subscriptions"
    return next((kind for part, kind in _KINDS.items() if part in call), "subscriptions")


@pytest.mark.parametrize(
    ("call", "name"),
    [
        pytest.param(
            call,
            name,
            marks=[pytest.mark.google_deviates("CreateSnapshot: NOT_FOUND")] if call == "CreateSnapshot" else [],
        )
        for call in CALLS
        for name in ("nonsense", "")
        if (call, name) != ("CreateSubscription", "")  # the server makes a name
    ],
)
def test_every_call_refuses_a_malformed_name(project: Project, call: str, name: str) -> None:
    with refused("INVALID_ARGUMENT"):
        CALLS[call](project, name)


@pytest.mark.parametrize("call", [call for call in CALLS if call not in ("CreateTopic", "CreateSubscription")])
def test_every_call_on_what_is_absent_is_not_found(project: Project, call: str) -> None:
    with refused("NOT_FOUND"):
        CALLS[call](project, project.name(kind_of(call), "absent"))


LISTINGS = {
    "topics": lambda p, **request: p.publisher.list_topics({"project": p.path, **request}),
    "subscriptions": lambda p, **request: p.subscriber.list_subscriptions({"project": p.path, **request}),
    "snapshots": lambda p, **request: p.subscriber.list_snapshots({"project": p.path, **request}),
}


@pytest.mark.google_deviates("UNKNOWN, Application error processing RPC")
@pytest.mark.parametrize("kind", LISTINGS)
def test_a_malformed_project_in_a_listing_is_refused(project: Project, kind: str) -> None:
    with refused("INVALID_ARGUMENT"):
        LISTINGS[kind](project, project="nonsense")


@pytest.mark.google_deviates("stores any label")
@pytest.mark.parametrize(
    "labels",
    [
        {"Upper": "x"},
        {"": "x"},
        {"1digit": "x"},
        {"a": "Upper"},
        {"a" * 64: "x"},
        {"a": "x" * 64},
        {"字" * 43: "x"},
        {"a": "字" * 43},
    ],
    ids=[
        *("upper-key", "empty-key", "digit-first", "upper-value", "long-key", "long-value"),
        *("129-bytes-key", "129-bytes-value"),
    ],
)
def test_a_malformed_label_is_refused(project: Project, labels: dict[str, str]) -> None:
    with refused("INVALID_ARGUMENT"):
        project.topic(labels=labels)


@pytest.mark.google_deviates("stores any label")
def test_labels_of_subscriptions_and_snapshots_have_the_same_rule(project: Project) -> None:
    name = project.subscription()
    snapshot = {"name": project.name("snapshots", "snapshot"), "subscription": name, "labels": {"Upper": "x"}}
    with refused("INVALID_ARGUMENT"):
        project.subscriber.create_snapshot(snapshot)
    with refused("INVALID_ARGUMENT"):
        project.subscription("other", labels={"Upper": "x"})


@pytest.mark.google_deviates("stores any number of labels")
def test_a_65th_label_is_refused(project: Project) -> None:
    with refused("INVALID_ARGUMENT"):
        project.topic(labels={f"label-{number}": "x" for number in range(65)})


def test_labels_are_kept_and_may_have_international_letters(project: Project) -> None:
    name = project.topic(labels={"team": "a_b-1", "größe": "groß", "empty": ""})
    found = project.publisher.get_topic(topic=name).labels
    assert dict(found) == {"team": "a_b-1", "größe": "groß", "empty": ""}


def test_labels_at_the_limits_are_taken(project: Project) -> None:
    labels = {f"label-{number}": "x" * 63 for number in range(62)} | {"a" * 63: "", "字" * 42: "字" * 42}
    assert len(project.publisher.get_topic(topic=project.topic(labels=labels)).labels) == 64


def test_a_listing_comes_in_pages(project: Project) -> None:
    names = [project.topic(f"topic-{number}") for number in range(5)]
    request = {"project": project.path, "page_size": 2}
    pages = [[topic.name for topic in page.topics] for page in project.publisher.list_topics(request).pages]
    assert [len(page) for page in pages] == [2, 2, 1]
    assert sorted(name for page in pages for name in page) == names


def test_a_page_size_over_the_maximum_is_no_error(project: Project) -> None:
    project.topic()
    assert len(list(project.publisher.list_topics({"project": project.path, "page_size": 1_000_000}))) == 1


def test_a_negative_page_size_is_taken_as_none(project: Project) -> None:
    project.topic()
    assert len(list(project.publisher.list_topics({"project": project.path, "page_size": -1}))) == 1


@pytest.mark.google_deviates("compares any token as a name")
@pytest.mark.parametrize("kind", LISTINGS)
def test_a_page_token_that_was_never_given_is_refused(project: Project, kind: str) -> None:
    with refused("INVALID_ARGUMENT"):
        list(LISTINGS[kind](project, page_token="nonsense"))


def test_subscriptions_are_listed_by_project_and_by_topic(project: Project) -> None:
    name = project.subscription()
    assert [each.name for each in project.subscriber.list_subscriptions(project=project.path)] == [name]
    assert list(project.publisher.list_topic_subscriptions(topic=project.name("topics", "topic"))) == [name]


def test_the_subscriptions_of_a_topic_are_listed_whatever_their_project(project: Project) -> None:
    topic = project.topic()
    name = f"projects/{project.id}-other/subscriptions/subscription"
    project.subscriber.create_subscription(name=name, topic=topic)
    assert list(project.publisher.list_topic_subscriptions(topic=topic)) == [name]


@pytest.mark.google_deviates("an empty list")
def test_listing_the_subscriptions_of_an_absent_topic_is_not_found(project: Project) -> None:
    with refused("NOT_FOUND"):
        project.publisher.list_topic_subscriptions(topic=project.name("topics", "absent"))


@pytest.mark.google_deviates("an empty list")
def test_listing_the_snapshots_of_an_absent_topic_is_not_found(project: Project) -> None:
    with refused("NOT_FOUND"):
        project.publisher.list_topic_snapshots(topic=project.name("topics", "absent"))


def test_an_update_needs_a_mask(project: Project) -> None:
    name = project.subscription()
    with refused("INVALID_ARGUMENT"):
        project.subscriber.update_subscription({"subscription": {"name": name, "ack_deadline_seconds": 20}})


@pytest.mark.parametrize("path", ["nonsense", "name", "ack_deadline_seconds.deeper"])
def test_an_update_of_an_unknown_or_immutable_path_is_refused(project: Project, path: str) -> None:
    name = project.subscription()
    with refused("INVALID_ARGUMENT"):
        project.subscriber.update_subscription({"subscription": {"name": name}, "update_mask": {"paths": [path]}})


@pytest.mark.parametrize(
    "paths", [[], ["nonsense"], ["name"], ["state"], ["labels.a"]], ids=lambda paths: ",".join(paths) or "none"
)
def test_an_update_of_a_topic_needs_a_mask_of_mutable_fields(project: Project, paths: list[str]) -> None:
    topic = project.topic()
    with refused("INVALID_ARGUMENT"):
        project.publisher.update_topic({"topic": {"name": topic}, "update_mask": {"paths": paths}})


@pytest.mark.google_deviates("UpdateSnapshot is UNIMPLEMENTED")
@pytest.mark.parametrize("paths", [[], ["nonsense"], ["topic"]], ids=lambda paths: ",".join(paths) or "none")
def test_an_update_of_a_snapshot_needs_a_mask_of_mutable_fields(project: Project, paths: list[str]) -> None:
    name = project.name("snapshots", "snapshot")
    project.subscriber.create_snapshot(name=name, subscription=project.subscription())
    with refused("INVALID_ARGUMENT"):
        project.subscriber.update_snapshot({"snapshot": {"name": name}, "update_mask": {"paths": paths}})
