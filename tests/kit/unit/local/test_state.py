from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest

from poolhouse.local import backends, state
from poolhouse.local.backend import Endpoints
from poolhouse.local.embedded import supervisor
from poolhouse.local.errors import NoStack
from poolhouse.local.processes.identity import ProcessId, describe_exit
from poolhouse.local.state import StackState
from poolhouse.pipeline.errors import ConfigError

STATE = StackState(
    backend="embedded",
    endpoints=Endpoints(api_url="http://a:1", pubsub_host="a:2", storage_url="http://a:3", project="p", bucket="b"),
    ready=True,
    supervisor=ProcessId.of(os.getpid()),
    details={"control": "/tmp/x"},
)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    state.write(tmp_path / "new", STATE)
    assert state.read(tmp_path / "new") == STATE
    assert state.read_live(tmp_path / "new") == STATE
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["state.json"]


def test_a_state_is_stale_once_its_process_is_gone_even_if_another_has_its_pid(tmp_path: Path) -> None:
    earlier = ProcessId(os.getpid(), ProcessId.of(os.getpid()).started_at - 100)
    assert not earlier.alive()
    state.write(tmp_path, replace(STATE, supervisor=earlier))
    assert state.read_live(tmp_path) is None
    with pytest.raises(NoStack, match="invoke up"):
        backends.current(tmp_path)


def test_a_state_without_a_supervisor_is_never_stale() -> None:
    assert not replace(STATE, supervisor=None).stale


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"supervisor": null}', "null"])
def test_a_file_that_is_no_state_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / state.STATE_FILE).write_text(text)
    assert state.read(tmp_path) is None


def test_the_backend_of_the_state_is_taken(tmp_path: Path) -> None:
    state.write(tmp_path, STATE)
    assert backends.current(tmp_path).name == "embedded"
    with pytest.raises(ConfigError, match=r"no backend 'cloud' \(backends: embedded"):
        backends.choose("cloud", state_dir=tmp_path)


def test_a_stale_process_is_not_signalled_or_waited_for() -> None:
    import signal

    gone = ProcessId(os.getpid(), 1.0)
    gone.signal(signal.SIGKILL)  # or this test would be the last one
    assert gone.wait(0)


@pytest.mark.parametrize(("code", "text"), [(0, "exit code 0"), (2, "exit code 2"), (-9, "killed by SIGKILL")])
def test_how_a_process_ended_is_described(code: int, text: str) -> None:
    assert describe_exit(code) == text


def test_a_stack_ends_once_its_state_was_deleted_and_not_where_it_was_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by `git clean` or with the whole checkout: no command would find it any more."""
    monkeypatch.setattr(supervisor, "_STATE_CHECK_S", 0)

    async def live() -> None:
        stop = asyncio.Event()
        with supervisor._only_one(tmp_path) as lock:
            assert lock is not None
            looking = asyncio.create_task(supervisor._end_with(lock, stop))
            moved = (tmp_path / "supervisor.lock").rename(tmp_path / "moved")
            for _ in range(10):
                await asyncio.sleep(0)
            assert not stop.is_set()
            moved.unlink()
            await asyncio.wait_for(stop.wait(), 60)
            await looking

    asyncio.run(live())
