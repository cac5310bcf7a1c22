from __future__ import annotations

import json
import sys

import pytest
from rich.console import Console

from poolhouse.client.errors import ApiError
from poolhouse.commands.tasks import calls, top
from poolhouse.commands.terminal import Terminal
from tests.kit.unit.commands.conftest import Screen, Served
from tests.kit.unit.commands.test_tasks import claimed, died, keep, submitted


def working(served: Served) -> str:
    """A pipeline where one task is dead, one runs and one waits; the id of the one that runs."""
    dead, running, _ = (submitted(served) for _ in range(3))
    keep(served, died(served, dead))
    keep(served, claimed(served, running))
    return running


def test_into_a_file_it_is_printed_once_with_numbers_that_agree_with_the_listing(
    served: Served, screen: Screen
) -> None:
    running = working(served)
    assert calls.top(served.api, terminal=screen.terminal) == 0
    [queue] = [row for row in screen.rows if row[:1] == ["default"]]
    assert queue[1:8] == ["1", "1", "0", "?", "0", "0.6", "0.2"]
    [task] = [row for row in screen.rows if row[:1] == [running]]
    assert task[1:4] == ["anything", "default", "1"]
    assert any(row[:4] == ["anything", "1", "1", "(100.0"] for row in screen.rows)


def test_for_programs_it_is_one_object(served: Served, screen: Screen) -> None:
    running = working(served)
    assert calls.top(served.api, as_json=True, terminal=screen.terminal) == 0
    found = json.loads(screen.out.getvalue())
    assert [task["task_id"] for task in found["running"]] == [running]
    assert {queue["name"]: queue["waiting"] for queue in found["queues"]} == {"default": 1, "bulk": 0}


def test_on_a_terminal_it_goes_on_until_ctrl_c_and_through_an_outage(
    served: Served, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    working(served)
    looks, stdout = [], sys.stdout

    def no_answer(path: str, **query: str) -> None:
        raise ApiError("the API does not answer", status=0)

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        assert sys.stdout is stdout  # the API's threads write their log there
        if len(looks) == 2:
            monkeypatch.setattr(served.api, "get", no_answer)
        if len(looks) == 3:
            raise KeyboardInterrupt

    console = Console(file=screen.out, force_terminal=True, width=150, height=30)
    assert top.run(served.api, as_json=False, terminal=Terminal(out=console, err=console), sleep=sleep) == 0
    assert looks == [top.EVERY_S] * 3
    assert "the API does not answer" in screen.out.getvalue()


@pytest.mark.parametrize(("counts", "line"), [([0, 1, 4, 8], " ▁▄█"), ([0, 0], "  "), ([1], "█"), ([], "")])
def test_a_line_of_blocks(counts: list[int], line: str) -> None:
    assert top.sparkline(counts) == line
