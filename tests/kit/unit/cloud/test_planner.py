from __future__ import annotations

import json
from pathlib import Path

import pytest

from poolhouse.cloud.errors import CloudError, Refused
from poolhouse.cloud.plan.planner import compare, decide, ordered, plan, second_reads
from poolhouse.cloud.plan.rendering import plan_text
from poolhouse.cloud.resource import Read, Resource, command, read
from tests.kit.unit.cloud.conftest import Make

GOLDEN = Path(__file__).parent / "first_plan.txt"


def resource(
    name: str, *, after: tuple[str, ...] = (), wanted: dict[str, object] | None = None, **more: object
) -> Resource:
    fields = wanted or {"size": 1}
    return Resource(
        kind="thing",
        name=name,
        wanted=fields,  # type: ignore[arg-type]
        read=read("things", "list", api="things"),
        observe=lambda raw: (raw or {}).get(name),
        create=(command("things", "create", name),),
        update=lambda raw: (command("things", "update", name),),
        after=after,
        **more,  # type: ignore[arg-type]
    )


def test_a_first_plan_reads_as_agreed(make: Make) -> None:
    """Run with `UPDATE_GOLDEN=1` after a wanted change, and read the difference."""
    import os

    text = plan_text(plan(make(), {}), project="some-project") + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8")


def test_an_absent_thing_is_created_and_a_different_one_updated_field_by_field() -> None:
    things = (resource("new"), resource("same"), resource("other"))
    result = plan(things, {("things", "list"): {"same": {"size": 1}, "other": {"size": 2}}})
    assert [(action.resource.name, action.verb) for action in result.actions] == [
        ("new", "create"),
        ("same", "unchanged"),
        ("other", "update"),
    ]
    (change,) = result.actions[2].changes
    assert (change.field, change.before, change.after) == ("size", 2, 1)
    assert [item.arguments for item in result.commands] == [("things", "create", "new"), ("things", "update", "other")]


def test_a_field_that_should_be_gone_is_a_difference() -> None:
    (change,) = compare({"size": 1}, {"size": 1, "extra": "x"})
    assert (change.field, change.before, change.after) == ("extra", "x", None)
    assert compare({"size": 1}, {"size": 1, "extra": None}) == ()


def test_a_field_that_cannot_change_is_refused_with_what_to_do() -> None:
    thing = resource("a", fixed={"size": "make another one"})
    with pytest.raises(Refused, match=r"thing/a: size is 2 and can't become 1\. What to do: make another one"):
        decide(thing, {"a": {"size": 2}})


def test_everything_comes_behind_what_it_needs(make: Make) -> None:
    seen: set[str] = set()
    resources = ordered(make(autoscale=True))
    ids = {item.id for item in resources}
    for item in resources:
        assert {name for name in item.after if name in ids} <= seen, item.id
        seen.add(item.id)


def test_what_a_resource_needs_exists_in_the_catalogue(make: Make) -> None:
    for choices in ({}, {"autoscale": True}, {"workers": "job"}, {"public": True}):
        resources = make(**choices)
        ids, kinds = {item.id for item in resources}, {item.kind for item in resources}
        for item in resources:
            assert all(name in ids or name in kinds for name in item.after), (item.id, item.after)


def test_a_circle_and_a_name_given_twice_are_reported() -> None:
    with pytest.raises(CloudError, match="needs itself"):
        ordered((resource("a", after=("thing/b",)), resource("b", after=("thing/a",))))
    with pytest.raises(CloudError, match="two resources are called thing/a"):
        ordered((resource("a"), resource("a")))


def test_policies_of_what_is_not_there_are_not_asked_for() -> None:
    parent = resource("a")
    child = Resource(
        kind="grants",
        name="thing/a",
        wanted={},
        read=Read(arguments=("things", "get-iam-policy", "a"), api="things.googleapis.com", needs="thing/a"),
        observe=lambda raw: raw,
        create=(),
    )
    enabled = frozenset({"things.googleapis.com"})
    assert second_reads((parent, child), {}, enabled=enabled) == ()
    assert second_reads((parent, child), {("things", "list"): {"a": {"size": 1}}}, enabled=enabled) == (child.read,)
    assert second_reads((parent, child), {("things", "list"): {"a": {"size": 1}}}, enabled=frozenset()) == ()


def test_every_resource_of_a_first_plan_has_commands_that_name_no_placeholder_twice(make: Make) -> None:
    for item in make(autoscale=True):
        assert item.create, item.id
        for one in item.create:
            text = " ".join(one.arguments)
            for name in one.files:
                assert f"{{file:{name}}}" in text, item.id
                if name.endswith(".json"):
                    json.loads(one.files[name])
