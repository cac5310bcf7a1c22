"""`invoke limits`."""

from __future__ import annotations

import json
from datetime import timedelta

from poolhouse.commands.tasks import limits
from poolhouse.pipeline.limits.limit_store import object_name
from poolhouse.pipeline.limits.shares import Hold, Holder, LimitState
from tests.kit.unit.commands.conftest import Screen, Served


def _use(served: Served) -> None:
    state = LimitState(
        task_type="call",
        kind="limit",
        key={"tenant": "acme"},
        rate="10/s",
        max_concurrency=3,
        holders={
            "one": Holder(
                until=served.clock() + timedelta(seconds=20),
                waiting=4,
                slots=Hold(want=3, have=2),
                starts=Hold(want=3, have=5),
            )
        },
        updated_at=served.clock(),
    )
    served.store.put(object_name("call", "limit", state.key), state.model_dump_json().encode())


def test_limits_are_listed_with_what_is_held_and_what_waits(served: Served, screen: Screen) -> None:
    assert limits.show(served.api, terminal=screen.terminal) == 0
    assert "no limit is in use" in screen.err.getvalue() + screen.out.getvalue()
    _use(served)
    shown = Screen()
    assert limits.show(served.api, terminal=shown.terminal) == 0
    assert shown.out.getvalue().splitlines()[1].split() == [
        "call",
        "tenant=acme",
        "2",
        "of",
        "3",
        "5",
        "of",
        "10/s",
        "4",
        "one",
        "(2)",
    ]


def test_limits_as_json_are_those_of_the_api(served: Served, screen: Screen) -> None:
    _use(served)
    assert limits.show(served.api, as_json=True, terminal=screen.terminal) == 0
    assert json.loads(screen.out.getvalue())["slots_held"] == 2
