"""What is asked before anything is removed; that all of it is removed is seen in a rehearsal."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from poolhouse.cloud.destroy import destroy, find
from poolhouse.cloud.errors import CloudError, GcloudFailed, Refused
from poolhouse.cloud.gcloud.release_tracks import ReleaseTracks
from poolhouse.cloud.options import Options
from poolhouse.cloud.resource import Command, Read
from poolhouse.pipeline.config.topology import parse
from tests.kit.unit.cloud.conftest import PIPELINE

TOPOLOGY = parse(PIPELINE)
OPTIONS = Options(project="some-project", name="shop")


class FakeGcloud:
    """A project with two topics, one of them ours."""

    def __init__(self, *errors: str) -> None:
        self.commands: list[Command] = []
        self._errors = list(errors)
        self.buckets: list[dict[str, str]] = []

    def run(self, command: Command) -> str:
        self.commands.append(command)
        if self._errors:
            raise GcloudFailed("delete", self._errors.pop(0))
        return ""

    def threads(self, name: str) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1)

    def read_all(self, reads: Sequence[Read]) -> dict[tuple[str, ...], Any]:
        return {read.arguments: self._answer(read) for read in reads}

    def _answer(self, read: Read) -> Any:
        if read.arguments[:2] == ("projects", "describe"):
            return {"projectNumber": "1"}
        if read.arguments[:2] == ("services", "list"):
            return [{"config": {"name": f"{api}.googleapis.com"}} for api in ("pubsub", "storage")]
        if read.arguments[:3] == ("storage", "buckets", "list"):
            return self.buckets
        if read.arguments[:3] == ("pubsub", "topics", "list"):
            topic = "projects/some-project/topics"
            return [{"name": f"{topic}/shop-mail", "labels": {"poolhouse": "shop"}}, {"name": f"{topic}/other"}]
        return []


def test_another_region_than_the_deploys_is_refused_before_anything_is_removed() -> None:
    gcloud = FakeGcloud()
    gcloud.buckets = [{"name": "some-project-shop", "location": "US-EAST1"}]
    with pytest.raises(Refused, match=r"shop is in us-east1.*not in europe-west1: nothing was removed"):
        destroy(
            gcloud,
            TOPOLOGY,
            options=OPTIONS,
            tracks=ReleaseTracks(),
            ask=lambda question: "some-project",
            say=lambda line: None,
        )  # type: ignore[arg-type]
    assert gcloud.commands == []


def test_buckets_that_a_broken_deploy_left_without_labels_are_found_by_their_names() -> None:
    gcloud = FakeGcloud()
    gcloud.buckets = [
        {"name": f"some-project-{name}", "location": "EUROPE-WEST1"} for name in ("shop", "shop-build", "shop-other")
    ]
    found = find(gcloud, TOPOLOGY, options=OPTIONS, tracks=ReleaseTracks(), keep_bucket=False)  # type: ignore[arg-type]
    assert [item.name for item in found if item.kind == "bucket"] == ["some-project-shop", "some-project-shop-build"]


@pytest.mark.parametrize("answer", ["", "y", "yes", "some-projec", "shop"])
def test_nothing_is_removed_unless_the_projects_id_is_typed(answer: str) -> None:
    gcloud, said = FakeGcloud(), list[str]()
    with pytest.raises(CloudError, match="not the project's id"):
        destroy(gcloud, TOPOLOGY, options=OPTIONS, tracks=ReleaseTracks(), ask=lambda question: answer, say=said.append)  # type: ignore[arg-type]
    assert gcloud.commands == []
    assert any("shop-mail" in line for line in said)
    assert not any("other" in line for line in said)


@pytest.mark.parametrize(
    ("errors", "attempts"),
    [
        ((), 1),
        (("NOT_FOUND: Resource not found",), 1),
        (("ABORTED: concurrent changes", "HTTPError 409: conflict", "NOT_FOUND: Resource not found"), 3),
    ],
)
def test_a_conflict_is_tried_again_and_what_is_gone_is_as_it_should_be(errors: tuple[str, ...], attempts: int) -> None:
    gcloud = FakeGcloud(*errors)
    removed = destroy(
        gcloud, TOPOLOGY, options=OPTIONS, tracks=ReleaseTracks(), ask=lambda _: "some-project", say=lambda line: None
    )  # type: ignore[arg-type]
    assert [leftover.name for leftover in removed] == ["shop-mail"]
    assert len(gcloud.commands) == attempts


def test_a_conflict_that_does_not_end_has_gclouds_message() -> None:
    gcloud = FakeGcloud(*["ABORTED: concurrent changes"] * 20)
    with pytest.raises(CloudError, match=r"(?s)concurrent changes.*1 could not be removed"):
        destroy(
            gcloud,
            TOPOLOGY,
            options=OPTIONS,
            tracks=ReleaseTracks(),
            ask=lambda question: "some-project",
            say=lambda line: None,
        )  # type: ignore[arg-type]
    assert len(gcloud.commands) < 10
