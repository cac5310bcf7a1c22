from __future__ import annotations

from typing import Any

from poolhouse.pipeline.store import ABSENT
from poolhouse.pipeline.tasks.record_store import RecordStore
from poolhouse.pipeline.tasks.records import Status, TaskRecord
from tests.kit.unit.local.console.conftest import Shown

MEMBER: dict[str, Any] = {"task_type": "anything", "payload": {"value": 1}}


def submit(shown: Shown) -> dict[str, Any]:
    answer: dict[str, Any] = shown.served.api.post("/groups", {"tasks": [MEMBER] * 3, "then": MEMBER})
    return answer


def end(shown: Shown, index: int, status: Status) -> str:
    task_id: str = shown.served.published[index]["task_id"]
    now = shown.served.clock()
    record = TaskRecord(
        task_id=task_id,
        task_type="anything",
        queue="default",
        status=status,
        submitted_at=now,
        updated_at=now,
        group_id=shown.served.published[index]["_poolhouse"]["group_id"],
        group_index=index,
    )
    RecordStore(shown.served.store).write(record, if_generation=ABSENT)
    return task_id


def test_a_group_is_followed_until_its_end(shown: Shown) -> None:
    group = submit(shown)
    end(shown, 0, Status.SUCCEEDED)
    page = shown.page(f"/groups/{group['group_id']}")
    assert "1 of 3" in page
    assert group["join_task_id"] in page
    assert "data-every" in page
    end(shown, 1, Status.DEAD)
    end(shown, 2, Status.SUCCEEDED)
    assert "Members have failed" in shown.page(f"/groups/{group['group_id']}")


def test_a_member_leads_to_its_group(shown: Shown) -> None:
    group = submit(shown)
    member = end(shown, 1, Status.SUCCEEDED)
    page = shown.page(f"/tasks/{member}")
    assert f'href="/groups/{group["group_id"]}"' in page
    assert "member 1" in page


def test_a_group_is_cancelled_by_its_button(shown: Shown) -> None:
    group = submit(shown)
    path = f"/groups/{group['group_id']}"
    assert f'action="{path}/cancel"' in shown.page(path)
    shown.post(f"{path}/cancel")
    page = shown.page(path)
    assert "Group <span" in page
    assert f'action="{path}/cancel"' not in page


def test_an_unknown_group_is_a_page_that_says_so(shown: Shown) -> None:
    assert "there is no group" in shown.page("/groups/none", status=404)
