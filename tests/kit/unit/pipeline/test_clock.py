"""The time of a stack whose emulator's clock is moved."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from poolhouse.local.embedded.shared_clock import SharedClock
from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.timing.clock import ShiftedClock


def ahead_s(clock: ShiftedClock) -> float:
    return (clock() - datetime.now(UTC)).total_seconds()


def test_all_processes_follow_the_emulators_clock_however_often_it_is_moved(tmp_path: Path) -> None:
    shared = SharedClock(tmp_path / "clock")
    seen = [ShiftedClock(str(tmp_path / "clock")) for _ in range(2)]
    for expected in (0, 3600, 90_000):
        assert [ahead_s(clock) for clock in seen] == [pytest.approx(expected, abs=1)] * 2
        assert shared.now() - datetime.now(UTC).timestamp() == pytest.approx(expected, abs=1)
        shared.skip(3600 if expected == 0 else 86_400)


def test_a_stack_that_goes_on_with_what_was_kept_goes_on_with_its_time(tmp_path: Path) -> None:
    SharedClock(tmp_path / "clock").skip(86_400)
    again = SharedClock(tmp_path / "clock")
    again.skip(3600)
    for clock in (again, SharedClock(tmp_path / "clock")):
        assert clock.now() - datetime.now(UTC).timestamp() == pytest.approx(90_000, abs=1)
    assert ahead_s(ShiftedClock(str(tmp_path / "clock"))) == pytest.approx(90_000, abs=1)


@pytest.mark.parametrize("text", ["", "soon", "nan", "-5", "1e30"])
def test_a_kept_file_that_says_no_time_begins_with_the_machines(tmp_path: Path, text: str) -> None:
    (tmp_path / "clock").write_text(text)
    assert SharedClock(tmp_path / "clock").now() - datetime.now(UTC).timestamp() == pytest.approx(0, abs=1)
    assert ahead_s(ShiftedClock(str(tmp_path / "clock"))) == pytest.approx(0, abs=1)


def test_a_move_that_is_refused_moves_nothing(tmp_path: Path) -> None:
    shared = SharedClock(tmp_path / "clock")
    for wrong in (-1, float("nan"), 1e12):
        with pytest.raises(ValueError, match="not possible"):
            shared.skip(wrong)
    assert ahead_s(ShiftedClock(str(tmp_path / "clock"))) == pytest.approx(0, abs=1)


@pytest.mark.parametrize("text", ["", "soon", "1e30", None])
def test_a_file_that_says_no_time_adds_none(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "clock").write_text(text)
    assert ahead_s(ShiftedClock(str(tmp_path / "clock"))) == pytest.approx(0, abs=1)


def test_a_deployment_without_the_file_has_the_machines_time() -> None:
    settings = Settings(google_cloud_project="p-12345", bucket_name="bucket")
    assert not isinstance(settings.clock, ShiftedClock)
    assert (settings.clock() - datetime.now(UTC)).total_seconds() == pytest.approx(0, abs=1)
