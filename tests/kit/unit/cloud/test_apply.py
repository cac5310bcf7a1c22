"""The executor, with a gcloud that is a function."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from poolhouse.cloud.errors import CloudError, GcloudFailed
from poolhouse.cloud.plan.apply import Values, apply
from poolhouse.cloud.plan.planner import Action, plan
from poolhouse.cloud.resource import Command, Read, Resource, command, read


class FakeGcloud:
    """Runs a function instead of gcloud, and remembers the commands."""

    def __init__(self, answer: Callable[[str], str] = lambda words: "", present: Any = None) -> None:
        self.commands: list[str] = []
        self.present = present
        self._answer = answer
        self._lock = threading.Lock()

    def run(self, command: Command, *, values: Any = None, on_retry: Any = None) -> str:
        words = " ".join(command.arguments)
        for name, value in (values or {}).items():
            words = words.replace(f"{{{name}}}", value)
        with self._lock:
            self.commands.append(words)
        return self._answer(words)

    def read(self, read: Read) -> Any:
        return self.present

    def threads(self, name: str) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(8)


class Quiet:
    def __init__(self) -> None:
        self.retries: list[str] = []
        self.left: list[str] = []

    def started(self, action: Action) -> None: ...

    def finished(self, action: Action, seconds: float) -> None: ...

    def retrying(self, resource: Resource, reason: str, wait_s: float) -> None:
        self.retries.append(resource.id)

    def left_out(self, resource: Resource, error: CloudError) -> None:
        self.left.append(resource.id)

    def broken_off(self) -> None: ...


def thing(
    name: str,
    *,
    after: tuple[str, ...] = (),
    kind: str = "thing",
    words: tuple[str, ...] = (),
    without: str = "",
    moving: bool = False,
) -> Resource:
    return Resource(
        kind=kind,
        name=name,
        wanted={"size": 1},
        read=read("things", "list", api="things"),
        observe=lambda raw: (raw or {}).get(name),
        create=(command(*(words or ("create", name))),),
        update=lambda raw: (command("update", name),),
        after=after,
        without=without,
        moving=moving,
    )


def carry_out(gcloud: FakeGcloud, *things: Resource, values: Values | None = None) -> Quiet:
    progress = Quiet()
    apply(plan(things, {}), gcloud, values=values or Values(), repository="repo/image", progress=progress)  # type: ignore[arg-type]
    return progress


def test_what_is_needed_is_done_before_what_needs_it() -> None:
    gcloud = FakeGcloud()
    carry_out(gcloud, thing("c", after=("thing/b",)), thing("b", after=("thing/a",)), thing("a"))
    assert gcloud.commands == ["create a", "create b", "create c"]


def test_what_needs_nothing_is_done_at_the_same_time() -> None:
    together = threading.Barrier(3, timeout=10)
    carry_out(FakeGcloud(lambda words: str(together.wait())), thing("a"), thing("b"), thing("c"))


def test_a_failure_stops_what_needs_it_and_keeps_what_is_done() -> None:
    def answer(words: str) -> str:
        if words == "create b":
            raise GcloudFailed("gcloud create b", "ERROR: PERMISSION_DENIED", advice="ask")
        return ""

    gcloud = FakeGcloud(answer)
    with pytest.raises(CloudError, match=r"(?s)gcloud create b.*1 of 3 actions are done and stay done"):
        carry_out(gcloud, thing("a"), thing("b", after=("thing/a",)), thing("c", after=("thing/b",)))
    assert gcloud.commands == ["create a", "create b"]


def test_a_deploy_goes_on_without_what_is_optional_and_returns_what_that_means() -> None:
    def answer(words: str) -> str:
        if words == "create bill":
            raise GcloudFailed("gcloud create bill", "ERROR: PERMISSION_DENIED", advice="ask")
        return ""

    gcloud, progress = FakeGcloud(answer), Quiet()
    work = plan([thing("bill", without="there is no bill."), thing("a", after=("thing/bill",))], {})
    (told,) = apply(work, gcloud, values=Values(), repository="repo/image", progress=progress)  # type: ignore[arg-type]
    assert gcloud.commands == ["create bill", "create a"]
    assert progress.left == ["thing/bill"]
    assert told.startswith("thing/bill: there is no bill.\nthis command failed:\n  gcloud create bill\n")
    assert told.endswith("ERROR: PERMISSION_DENIED\nWhat to do: ask")


def test_a_thing_that_is_there_already_is_read_again_and_only_updated_where_it_differs() -> None:
    def answer(words: str) -> str:
        if words.startswith("create"):
            raise GcloudFailed("x", "ERROR: ALREADY_EXISTS")
        return ""

    same, other = FakeGcloud(answer, present={"a": {"size": 1}}), FakeGcloud(answer, present={"a": {"size": 2}})
    assert carry_out(same, thing("a")).retries == ["thing/a"]
    assert same.commands == ["create a"]
    carry_out(other, thing("a"))
    assert other.commands == ["create a", "update a"]


def test_what_others_change_at_any_time_is_read_again_before_its_update() -> None:
    there = {"a": {"size": 2}, "b": {"size": 2}}
    meanwhile = FakeGcloud(present={"a": {"size": 1}, "b": {"size": 1}})
    decided = plan((thing("a"), thing("b", moving=True)), {thing("a").read.arguments: there})
    apply(decided, meanwhile, values=Values(), repository="repo/image", progress=Quiet())  # type: ignore[arg-type]
    assert meanwhile.commands == ["update a"]


def test_a_conflict_that_does_not_end_is_reported() -> None:
    def answer(words: str) -> str:
        raise GcloudFailed("x", "ERROR: ABORTED: concurrent policy changes")

    with pytest.raises(CloudError, match="concurrent policy changes"):
        carry_out(FakeGcloud(answer, present={"a": {"size": 2}}), thing("a"))


def test_what_runs_an_image_gets_the_digest_that_was_just_built() -> None:
    build = '{"results": {"images": [{"name": "repo/image:tag", "digest": "sha256:abc"}]}}'
    gcloud = FakeGcloud(lambda words: build if words.startswith("build") else "")
    values = Values(sources="/folder")
    image = thing("tag", kind="image", words=("build", "{sources}"))
    carry_out(gcloud, thing("api", after=("image",), words=("deploy", "{image}")), image, values=values)
    assert gcloud.commands == ["build /folder", "deploy repo/image@sha256:abc"]


def test_a_build_that_names_no_digest_is_an_error() -> None:
    with pytest.raises(CloudError, match="without naming the digest"):
        carry_out(FakeGcloud(lambda words: "{}"), thing("tag", kind="image"))
