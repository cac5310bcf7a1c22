"""The Subscription resource (section 4)."""

from __future__ import annotations

import pytest
from google.pubsub_v1.types import Subscription

from tests.kit.conformance.semantics.targets import Project, refused


def get(project: Project, name: str) -> Subscription:
    return project.subscriber.get_subscription(subscription=name)


def update(project: Project, name: str, *paths: str, **fields: object) -> Subscription:
    return project.subscriber.update_subscription(
        {"subscription": {"name": name, **fields}, "update_mask": {"paths": list(paths)}}
    )


def test_a_subscription_is_created_once(project: Project) -> None:
    project.subscription()
    with refused("ALREADY_EXISTS"):
        project.subscription()


def test_the_server_names_a_subscription_without_a_name(project: Project) -> None:
    made = project.subscriber.create_subscription(name="", topic=project.topic())
    assert made.name.startswith(project.path + "/subscriptions/")
    project.publish("a")
    assert len(project.pull(made.name)) == 1


def test_a_subscription_needs_an_existing_topic(project: Project) -> None:
    with refused("NOT_FOUND"):
        project.subscription(topic=project.name("topics", "absent"))
    with refused("INVALID_ARGUMENT"):
        project.subscription(topic="_deleted-topic_")


def test_a_subscription_may_be_in_another_project_than_its_topic(project: Project) -> None:
    project.topic()
    name = f"projects/{project.id}-other/subscriptions/subscription"
    project.subscriber.create_subscription(name=name, topic=project.name("topics", "topic"))
    project.publish("a")
    assert len(project.pull(name)) == 1


def test_defaults_are_filled_in(project: Project) -> None:
    found = get(project, project.subscription())
    assert found.ack_deadline_seconds == 10
    assert found.message_retention_duration.total_seconds() == 7 * 86_400


@pytest.mark.google_deviates("no default expiration is shown, the state is not returned")
def test_the_default_expiration_and_the_state_are_shown(project: Project) -> None:
    found = get(project, project.subscription())
    assert found.expiration_policy.ttl.total_seconds() == 31 * 86_400
    assert found.state == Subscription.State.ACTIVE


@pytest.mark.parametrize("seconds", [-1, 601])
def test_an_ack_deadline_out_of_bounds_is_refused(project: Project, seconds: int) -> None:
    with refused("INVALID_ARGUMENT"):
        project.subscription(ack_deadline_seconds=seconds)


@pytest.mark.google_deviates("1 to 9 seconds are taken")
def test_an_ack_deadline_below_10_seconds_is_refused(project: Project) -> None:
    with refused("INVALID_ARGUMENT"):
        project.subscription(ack_deadline_seconds=9)


@pytest.mark.parametrize("seconds", [599, 31 * 86_400 + 1])
def test_a_retention_out_of_bounds_is_refused(project: Project, seconds: int) -> None:
    with refused("INVALID_ARGUMENT"):
        project.subscription(message_retention_duration={"seconds": seconds})


@pytest.mark.google_deviates("at most 7 days")
def test_a_retention_of_31_days_is_taken(project: Project) -> None:
    name = project.subscription(message_retention_duration={"seconds": 31 * 86_400})
    assert get(project, name).message_retention_duration.total_seconds() == 31 * 86_400


@pytest.mark.google_deviates("not filled in")
def test_the_retention_of_the_topic_is_shown(project: Project) -> None:
    topic = project.topic(message_retention_duration={"seconds": 600})
    name = project.subscription(topic=topic)
    assert get(project, name).topic_message_retention_duration.total_seconds() == 600


@pytest.mark.google_deviates("nothing of an expiration is checked")
@pytest.mark.parametrize("seconds", [3600, 400 * 86_400])
def test_a_time_to_live_out_of_bounds_is_refused(project: Project, seconds: int) -> None:
    with refused("INVALID_ARGUMENT"):
        project.subscription(expiration_policy={"ttl": {"seconds": seconds}})


def test_an_expiration_policy_without_a_ttl_means_never(project: Project) -> None:
    found = get(project, project.subscription(expiration_policy={}))
    assert "expiration_policy" in found
    assert not found.expiration_policy.ttl


def test_a_retry_policy_gets_its_defaults(project: Project) -> None:
    found = get(project, project.subscription(retry_policy={"minimum_backoff": {"seconds": 20}}))
    assert found.retry_policy.minimum_backoff.total_seconds() == 20
    assert found.retry_policy.maximum_backoff.total_seconds() == 600


@pytest.mark.parametrize(
    "policy",
    [
        {"minimum_backoff": {"seconds": 601}},
        {"maximum_backoff": {"seconds": 601}},
        {"minimum_backoff": {"seconds": -1}},
        {"minimum_backoff": {"seconds": 20}, "maximum_backoff": {"seconds": 10}},
    ],
    ids=["long-minimum", "long-maximum", "negative", "crossed"],
)
def test_a_retry_policy_out_of_bounds_is_refused(project: Project, policy: dict[str, object]) -> None:
    with refused("INVALID_ARGUMENT"):
        project.subscription(retry_policy=policy)


def test_a_dead_letter_topic_must_exist(project: Project) -> None:
    with refused("NOT_FOUND"):
        project.subscription(dead_letter_policy={"dead_letter_topic": project.name("topics", "absent")})


@pytest.mark.parametrize("attempts", [4, 101])
def test_delivery_attempts_out_of_bounds_are_refused(project: Project, attempts: int) -> None:
    policy = {"dead_letter_topic": project.topic("dead"), "max_delivery_attempts": attempts}
    with refused("OUT_OF_RANGE", "INVALID_ARGUMENT"):
        project.subscription(dead_letter_policy=policy)


def test_delivery_attempts_are_5_by_default(project: Project) -> None:
    name = project.subscription(dead_letter_policy={"dead_letter_topic": project.topic("dead")})
    assert get(project, name).dead_letter_policy.max_delivery_attempts == 5


@pytest.mark.google_deviates("push and BigQuery are taken together")
def test_two_ways_of_delivery_at_once_are_refused(project: Project) -> None:
    with refused("INVALID_ARGUMENT"):
        project.subscription(push_config={"push_endpoint": "http://127.0.0.1:1/"}, bigquery_config={"table": "a.b.c"})


@pytest.mark.parametrize("endpoint", ["nonsense", "ftp://127.0.0.1/"])
def test_a_push_endpoint_is_a_url(project: Project, endpoint: str) -> None:
    with refused("INVALID_ARGUMENT"):
        project.subscription(push_config={"push_endpoint": endpoint})


@pytest.mark.google_deviates("any value is taken")
def test_an_unknown_push_version_is_refused(project: Project) -> None:
    push = {"push_endpoint": "http://127.0.0.1:1/", "attributes": {"x-goog-version": "v9"}}
    with refused("INVALID_ARGUMENT"):
        project.subscription(push_config=push)


@pytest.mark.parametrize("attributes", [{}, {"x-goog-version": "v1beta1"}])
def test_a_push_configuration_comes_back_as_it_was_given(project: Project, attributes: dict[str, str]) -> None:
    push = {"push_endpoint": "http://127.0.0.1:1/", "attributes": attributes}
    name = project.subscription(push_config=push)
    assert dict(get(project, name).push_config.attributes) == attributes
    project.subscriber.modify_push_config(subscription=name, push_config=push)
    assert dict(get(project, name).push_config.attributes) == attributes


@pytest.mark.google_deviates("answers, empty")
def test_what_is_exported_can_not_be_pulled(project: Project) -> None:
    name = project.subscription(bigquery_config={"table": "project.dataset.table"})
    with refused("FAILED_PRECONDITION", "INVALID_ARGUMENT"):
        project.pull_now(name)


@pytest.mark.google_deviates("detached is kept")
def test_output_fields_of_a_request_are_ignored(project: Project) -> None:
    name = project.subscription(detached=True, state=Subscription.State.RESOURCE_ERROR)
    assert not get(project, name).detached


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("ack_deadline_seconds", 42),
        ("retain_acked_messages", True),
        ("enable_exactly_once_delivery", True),
    ],
)
def test_a_mutable_field_can_be_updated(project: Project, path: str, value: object) -> None:
    name = project.subscription()
    assert getattr(update(project, name, path, **{path: value}), path) == value
    assert getattr(get(project, name), path) == value


@pytest.mark.google_deviates("not a known Subscription field")
def test_labels_can_be_updated(project: Project) -> None:
    name = project.subscription(labels={"a": "1"})
    assert dict(update(project, name, "labels", labels={"b": "2"}).labels) == {"b": "2"}


@pytest.mark.google_deviates("expiration_policy is currently unsupported")
def test_the_expiration_can_be_updated(project: Project) -> None:
    name = project.subscription()
    changed = update(project, name, "expiration_policy", expiration_policy={"ttl": {"seconds": 86_400}})
    assert changed.expiration_policy.ttl.total_seconds() == 86_400


@pytest.mark.google_deviates("no sub-paths")
def test_one_field_of_a_policy_can_be_updated(project: Project) -> None:
    dead = project.topic("dead")
    name = project.subscription(dead_letter_policy={"dead_letter_topic": dead})
    path = "dead_letter_policy.max_delivery_attempts"
    changed = update(project, name, path, dead_letter_policy={"max_delivery_attempts": 9})
    assert (changed.dead_letter_policy.dead_letter_topic, changed.dead_letter_policy.max_delivery_attempts) == (dead, 9)


@pytest.mark.google_deviates("no sub-paths")
def test_a_field_of_a_policy_that_is_not_there_makes_it(project: Project) -> None:
    name = project.subscription()
    policy = {"minimum_backoff": {"seconds": 20}, "maximum_backoff": {"seconds": 30}}
    changed = update(project, name, "retry_policy.minimum_backoff", retry_policy=policy)
    assert changed.retry_policy.minimum_backoff.total_seconds() == 20
    assert changed.retry_policy.maximum_backoff.total_seconds() == 600


def test_a_masked_field_that_is_unset_returns_to_its_default(project: Project) -> None:
    name = project.subscription(ack_deadline_seconds=60, retry_policy={"minimum_backoff": {"seconds": 20}})
    changed = update(project, name, "ack_deadline_seconds", "retry_policy")
    assert changed.ack_deadline_seconds == 10
    assert "retry_policy" not in changed


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("enable_message_ordering", True),
        ("topic", "projects/p/topics/other"),
        ("filter", "attributes:x"),
        ("detached", True),
    ],
)
def test_an_immutable_field_is_refused(project: Project, path: str, value: object) -> None:
    name = project.subscription()
    with refused("INVALID_ARGUMENT"):
        update(project, name, path, **{path: value})


def test_a_deleted_subscription_is_gone(project: Project) -> None:
    name = project.subscription()
    project.subscriber.delete_subscription(subscription=name)
    with refused("NOT_FOUND"):
        get(project, name)
    with refused("NOT_FOUND"):
        project.pull_now(name)


def test_an_unused_subscription_expires(project: Project) -> None:
    if project.target.name == "google":
        pytest.skip("nobody waits a day")
    name = project.subscription(expiration_policy={"ttl": {"seconds": 86_400}})
    project.wait(86_401)
    with refused("NOT_FOUND"):
        get(project, name)
