"""Names, labels, paging and masks (section 1 of the specification)."""

import pytest

from tests.conformance.semantics.targets import Project, refused


@pytest.mark.parametrize("id", ["ab", "1abc", "-abc", "googlish", "a" * 256, "sp ace", "uml\u00e4ut", "a/b/c"])
def test_a_malformed_topic_id_is_refused(project: Project, id: str):
    with refused("INVALID_ARGUMENT"):
        project.topic(id)


@pytest.mark.parametrize("id", ["abc", "A-b_c.d~e+f%20", "a" * 255, "Googabc"])
def test_a_well_formed_topic_id_is_taken(project: Project, id: str):
    assert project.topic(id) == project.name("topics", id)


def test_a_malformed_name_is_an_argument_error_and_an_absent_one_is_not_found(project: Project):
    with refused("INVALID_ARGUMENT"):
        project.publisher.get_topic(topic="nonsense")
    with refused("NOT_FOUND"):
        project.publisher.get_topic(topic=project.name("topics", "absent"))
    with refused("INVALID_ARGUMENT"):
        project.subscriber.get_subscription(subscription=project.name("topics", "wrong-kind"))
    with refused("NOT_FOUND"):
        project.subscriber.get_subscription(subscription=project.name("subscriptions", "absent"))


@pytest.mark.google_deviates("UNKNOWN, Application error processing RPC")
def test_a_malformed_project_in_a_listing_is_refused(project: Project):
    with refused("INVALID_ARGUMENT"):
        project.publisher.list_topics(project="nonsense")


@pytest.mark.google_deviates("stores any label")
@pytest.mark.parametrize(
    "labels",
    [{"Upper": "x"}, {"": "x"}, {"1digit": "x"}, {"a": "Upper"}, {"a" * 64: "x"}, {"a": "x" * 64}],
    ids=["upper-key", "empty-key", "digit-first", "upper-value", "long-key", "long-value"],
)
def test_a_malformed_label_is_refused(project: Project, labels: dict[str, str]):
    with refused("INVALID_ARGUMENT"):
        project.topic(labels=labels)


@pytest.mark.google_deviates("stores any number of labels")
def test_a_65th_label_is_refused(project: Project):
    with refused("INVALID_ARGUMENT"):
        project.topic(labels={f"label-{number}": "x" for number in range(65)})


def test_labels_are_kept_and_may_have_international_letters(project: Project):
    name = project.topic(labels={"team": "a_b-1", "größe": "groß", "empty": ""})
    found = project.publisher.get_topic(topic=name).labels
    assert dict(found) == {"team": "a_b-1", "größe": "groß", "empty": ""}


def test_a_listing_comes_in_pages(project: Project):
    names = [project.topic(f"topic-{number}") for number in range(5)]
    request = {"project": project.path, "page_size": 2}
    pages = [[topic.name for topic in page.topics] for page in project.publisher.list_topics(request).pages]
    assert [len(page) for page in pages] == [2, 2, 1]
    assert sorted(name for page in pages for name in page) == names


def test_a_page_size_over_the_maximum_is_no_error(project: Project):
    project.topic()
    assert len(list(project.publisher.list_topics({"project": project.path, "page_size": 1_000_000}))) == 1


@pytest.mark.google_deviates("compares any token as a name")
def test_a_page_token_that_was_never_given_is_refused(project: Project):
    with refused("INVALID_ARGUMENT"):
        list(project.publisher.list_topics({"project": project.path, "page_token": "nonsense"}))


def test_subscriptions_are_listed_by_project_and_by_topic(project: Project):
    name = project.subscription()
    assert [each.name for each in project.subscriber.list_subscriptions(project=project.path)] == [name]
    assert list(project.publisher.list_topic_subscriptions(topic=project.name("topics", "topic"))) == [name]


@pytest.mark.google_deviates("an empty list")
def test_listing_the_subscriptions_of_an_absent_topic_is_not_found(project: Project):
    with refused("NOT_FOUND"):
        project.publisher.list_topic_subscriptions(topic=project.name("topics", "absent"))


def test_an_update_needs_a_mask(project: Project):
    name = project.subscription()
    with refused("INVALID_ARGUMENT"):
        project.subscriber.update_subscription({"subscription": {"name": name, "ack_deadline_seconds": 20}})


@pytest.mark.parametrize("path", ["nonsense", "name", "ack_deadline_seconds.deeper"])
def test_an_update_of_an_unknown_or_immutable_path_is_refused(project: Project, path: str):
    name = project.subscription()
    with refused("INVALID_ARGUMENT"):
        project.subscriber.update_subscription({"subscription": {"name": name}, "update_mask": {"paths": [path]}})
