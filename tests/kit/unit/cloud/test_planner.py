from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from poolhouse.cloud.errors import CloudError, Refused
from poolhouse.cloud.plan.planner import decide, first_reads, needs, ordered, plan, second_reads
from poolhouse.cloud.plan.rendering import plan_text
from poolhouse.cloud.resource import Leftover, LeftoverQuery, Read, Resource, command, compare, read
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

    text = plan_text(plan(make(bill="{}"), {}), project="some-project") + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8")


def test_a_bill_is_attached_to_the_image_that_has_none_and_to_no_other(make: Make) -> None:
    image = "europe-west1-docker.pkg.dev/some-project/shop/shop@sha256:aaaa"
    (bill,) = (item for item in make(bill="{}", image=image) if item.kind == "sbom")
    other = {"occ": {"resourceUri": f"https://{image.replace('aaaa', 'bbbb')}"}, "file_info": {}}
    for listed, verb in (
        (None, "create"),  # not readable, or none at all
        ([other], "create"),
        ([other, {"occ": {"resourceUri": f"https://{image}"}, "file_info": {}}], "unchanged"),
    ):
        assert decide(bill, listed).verb == verb
    assert bill.create[0].files == {"sbom.cdx.json": "{}"}
    assert not [
        item.id for item in make(image=image) if item.kind == "sbom"
    ]  # an earlier release: not of these sources


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
    assert [action.resource.name for action in result.work] == ["new", "other"]


def test_an_update_is_made_from_what_the_read_printed() -> None:
    found = {"a": {"size": 2}, "etag": "BwX"}
    thing = replace(resource("a"), update=lambda raw: (command("things", "update", f"--etag={raw['etag']}"),))
    assert [item.arguments for item in decide(thing, found).commands] == [("things", "update", "--etag=BwX")]


def test_a_field_that_should_be_gone_is_a_difference() -> None:
    (change,) = compare({"size": 1}, {"size": 1, "extra": "x"})
    assert (change.field, change.before, change.after) == ("extra", "x", None)
    assert compare({"size": 1}, {"size": 1, "extra": None, "more": ()}) == ()


@pytest.mark.parametrize("present", [{}, {"size": None}, {"size": ()}])
def test_a_field_that_is_not_set_yet_is_a_difference(present: dict[str, None]) -> None:
    (change,) = compare({"size": 1}, present)
    assert (change.field, change.before, change.after) == ("size", present.get("size"), 1)


def test_a_field_that_cannot_change_is_refused_with_what_to_do() -> None:
    thing = resource("a", fixed={"size": "make another one"})
    with pytest.raises(Refused, match=r"thing/a: size is 2 and can't become 1\. What to do: make another one"):
        decide(thing, {"a": {"size": 2}})


def test_all_refusals_are_reported_together_and_nothing_is_planned() -> None:
    things = (resource("a", absent="ask for it"), resource("b", fixed={"size": "make another one"}), resource("c"))
    with pytest.raises(Refused) as refusal:
        plan(things, {("things", "list"): {"b": {"size": 2}}})
    assert str(refusal.value) == (
        "thing/a: ask for it\nthing/b: size is 2 and can't become 1. What to do: make another one."
    )
    assert plan(things[:1], {("things", "list"): {"a": {"size": 1}}}).work == ()


def test_what_earlier_deploys_made_and_this_one_does_not_want_is_left_over() -> None:
    listing = read("things", "list-labelled", api="things")
    query = LeftoverQuery(
        kind="thing",
        read=listing,
        find=lambda raw: tuple(Leftover(kind="thing", name=name, delete=()) for name in raw or ()),
    )
    result = plan((resource("a"),), {listing.arguments: ["a", "gone"]}, sweeps=(query,))
    assert [leftover.id for leftover in result.leftovers] == ["thing/gone"]


def test_a_need_is_an_id_or_a_kind_and_what_is_not_wanted_counts_as_in_place() -> None:
    things = {item.id: item for item in (resource("a"), resource("b"))}
    assert needs(resource("c", after=("thing/b", "thing/unknown", "other")), things) == ("thing/b",)
    assert needs(resource("c", after=("thing",)), things) == ("thing/a", "thing/b")


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


def test_what_is_read_first_needs_no_other_resource_and_an_api_that_is_on() -> None:
    def of(*arguments: str, api: str, needs: str | None = None) -> Resource:
        return Resource(
            kind="thing",
            name="-".join(arguments),
            wanted={},
            read=Read(arguments=arguments, api=api, needs=needs),
            observe=lambda raw: raw,
            create=(),
        )

    always, on, twice = of("projects", api=""), of("things", api="on"), of("things", api="on")
    off, policy = of("others", api="off"), of("policy", api="on", needs="thing/things")
    swept = LeftoverQuery(kind="thing", read=Read(arguments=("labelled",), api="on"), find=lambda raw: ())
    reads = first_reads((always, on, twice, off, policy), (swept,), enabled=frozenset({"on"}))
    assert [item.arguments for item in reads] == [("projects",), ("things",), ("labelled",)]


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
    assert second_reads((child,), {}, enabled=enabled) == (child.read,)  # made by hand, not by this deploy


def test_every_resource_of_a_first_plan_has_commands_that_name_no_placeholder_twice(make: Make) -> None:
    for item in make(autoscale=True):
        assert item.create, item.id
        for one in item.create:
            text = " ".join(one.arguments)
            for name in one.files:
                assert f"{{file:{name}}}" in text, item.id
                if name.endswith(".json"):
                    json.loads(one.files[name])
