"""What is asked before anything is removed; that all of it is removed is seen in a rehearsal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from cloud.destroy import destroy
from cloud.errors import CloudError
from cloud.options import Options
from cloud.resource import Command, Read
from cloud.tracks import Tracks

OPTIONS = Options(project="some-project", name="shop")


class FakeGcloud:
    """A project with two topics, one of them ours."""

    def __init__(self) -> None:
        self.commands: list[Command] = []

    def run(self, command: Command) -> str:
        self.commands.append(command)
        return ""

    def read_all(self, reads: Sequence[Read]) -> dict[tuple[str, ...], Any]:
        return {read.words: self._answer(read) for read in reads}

    @staticmethod
    def _answer(read: Read) -> Any:
        if read.words[:2] == ("projects", "describe"):
            return {"projectNumber": "1"}
        if read.words[:2] == ("services", "list"):
            return [{"config": {"name": "pubsub.googleapis.com"}}]
        if read.words[:3] == ("pubsub", "topics", "list"):
            topic = "projects/some-project/topics"
            return [{"name": f"{topic}/shop-mail", "labels": {"poolhouse": "shop"}}, {"name": f"{topic}/other"}]
        return []


@pytest.mark.parametrize("answer", ["", "y", "yes", "some-projec", "shop"])
def test_nothing_is_removed_unless_the_projects_id_is_typed(answer: str) -> None:
    gcloud, said = FakeGcloud(), list[str]()
    with pytest.raises(CloudError, match="not the project's id"):
        destroy(gcloud, options=OPTIONS, words=Tracks(), ask=lambda question: answer, say=said.append)  # type: ignore[arg-type]
    assert gcloud.commands == []
    assert any("shop-mail" in line for line in said)
    assert not any("other" in line for line in said)
