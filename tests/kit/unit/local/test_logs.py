from __future__ import annotations

import json
from pathlib import Path

import pytest

from poolhouse.local import logs


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("plain text", "plain text"),
        ('{"no": "message"}', '{"no": "message"}'),
        ("{broken", "{broken"),
        (
            '{"time": "2026-11-24T21:29:51.5Z", "severity": "INFO", "message": "task done", "task_id": "t1", "n": 3}',
            "21:29:51 INFO    task done  task_id=t1  n=3",
        ),
        ('{"message": "m", "reason": "two words"}', '                 m  reason="two words"'),
        ('{"message": "m", "logging.googleapis.com/spanId": "00f067"}', "                 m  spanId=00f067"),
        ('{"message": "m", "exception": "Traceback\\n  x"}', "                 m\nTraceback\n  x"),
    ],
)
def test_a_json_line_is_shown_for_people_and_any_other_as_it_is(line: str, shown: str) -> None:
    assert logs.render(line) == shown


def entry(second: int, message: str) -> str:
    return json.dumps({"time": f"2026-11-24T10:00:{second:02}.000Z", "message": message}) + "\n"


def test_lines_of_several_files_are_put_in_the_order_of_time(tmp_path: Path) -> None:
    api, worker = tmp_path / "api.log", tmp_path / "worker.log"
    api.write_text(entry(1, "a1") + entry(3, "a3") + "  traceback of a3\n")
    worker.write_text(entry(2, "w2") + entry(4, "w4"))
    found = list(logs.last({"api": api, "worker": worker}, 10))
    assert [name for name, _ in found] == ["api", "worker", "api", "api", "worker"]
    assert found[3][1] == "  traceback of a3"
    assert len(list(logs.last({"api": api}, 1))) == 1


def test_the_last_lines_of_a_large_file_are_read_from_its_end(tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    log.write_text("".join(f"{number} {'x' * 200}\n" for number in range(2000)) + "being written")
    found = [line for _, line in logs.last({"api": log, "gone": tmp_path / "gone.log"}, 700)]
    assert [int(line.split()[0]) for line in found] == list(range(1300, 2000))
    assert len(list(logs.last({"api": log}, 5000))) == 2000


def test_following_gives_whole_lines_as_they_come_and_a_file_that_starts_anew_from_its_start(tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    log.write_text("old\n")
    writes = iter(["one\ntw", "o\n", None, "last\n"])

    def alive() -> bool:
        try:
            text = next(writes)
        except StopIteration:
            return False
        if text is None:
            log.write_text("new\n")
        else:
            with log.open("a") as file:
                file.write(text)
        return True

    def files() -> dict[str, Path]:
        return {"api": log}

    first = logs.follow(files, alive=lambda: False)
    assert list(first) == []
    assert [line for _, line in logs.follow(files, alive=alive, from_start=True)] == [
        "old",
        "one",
        "two",
        "new",
        "last",
    ]
