from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from poolhouse.client.errors import ApiError
from poolhouse.commands.tasks import calls
from poolhouse.commands.tasks import group as command
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.store import ABSENT
from poolhouse.pipeline.tasks.record_store import RecordStore
from poolhouse.pipeline.tasks.records import Status, TaskRecord
from tests.kit.unit.commands.conftest import Screen, Served

MEMBER: dict[str, Any] = {"task_type": "anything", "payload": {"value": 1}}


def end(served: Served, task_id: str, status: Status = Status.SUCCEEDED) -> None:
    now = served.clock()
    record = TaskRecord(
        task_id=task_id, task_type="anything", queue="default", status=status, submitted_at=now, updated_at=now
    )
    RecordStore(served.store).write(record, if_generation=ABSENT)


def submit(served: Served, members: int = 2) -> dict[str, Any]:
    answer: dict[str, Any] = served.api.post("/groups", {"tasks": [MEMBER] * members, "then": MEMBER})
    return answer


def test_a_group_is_shown_with_its_members_by_status_and_its_join(served: Served, screen: Screen) -> None:
    group = submit(served)
    end(served, served.published[0]["task_id"], Status.DEAD)
    end(served, served.published[1]["task_id"])
    assert calls.group(served.api, group["group_id"], terminal=screen.terminal) == 0
    shown = screen.out.getvalue()
    assert f"{group['group_id']}  waiting" in shown
    assert "1 of 2" in shown
    assert "1 succeeded, 1 dead" in shown
    assert f"anything  {group['join_task_id']}  waiting" in shown


def test_a_group_is_shown_as_json(served: Served, screen: Screen) -> None:
    group = submit(served)
    assert calls.group(served.api, group["group_id"], as_json=True, terminal=screen.terminal) == 0
    assert json.loads(screen.out.getvalue())["counts"]["queued"] == 2


@pytest.mark.parametrize(("ends", "code"), [(Status.SUCCEEDED, 0), (Status.DEAD, 1)])
def test_a_group_is_watched_until_its_join_has_ended(
    served: Served, screen: Screen, monkeypatch: pytest.MonkeyPatch, ends: Status, code: int
) -> None:
    monkeypatch.setattr(command, "LOOK_S", 0.01)
    group = submit(served)
    first, second = (body["task_id"] for body in served.published)

    def go_on() -> None:
        end(served, first)
        end(served, second)
        end(served, group["join_task_id"], ends)

    going_on = threading.Timer(0.1, go_on)
    going_on.start()
    assert calls.group(served.api, group["group_id"], watch=True, terminal=screen.terminal) == code
    going_on.join()
    assert "0 of 2  2 queued" in screen.out.getvalue()


def test_a_group_is_cancelled_once(served: Served, screen: Screen) -> None:
    group = submit(served)
    assert calls.group(served.api, group["group_id"], cancel=True, terminal=screen.terminal) == 0
    assert served.api.get(f"/groups/{group['group_id']}")["status"] == "cancelled"


def test_what_can_not_be_is_said(served: Served, screen: Screen) -> None:
    with pytest.raises(ConfigError, match="give one of them"):
        calls.group(served.api, "g", cancel=True, watch=True, terminal=screen.terminal)
    with pytest.raises(ApiError, match="there is no group g"):
        calls.group(served.api, "g", terminal=screen.terminal)
