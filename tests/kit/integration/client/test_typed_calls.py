"""Typed calls of a program outside of handlers, on a running stack."""

from __future__ import annotations

import asyncio
import io
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest

from poolhouse import ApiError, AsyncClient, Client, ResultTimeout, TaskFailed, TaskType
from poolhouse.client import calls
from poolhouse.client.files import CHUNK_BYTES
from poolhouse.testing.plugin import Stack
from poolhouse.worker.samples import Echo, Echoed, Failing, FanOut, Slow, collect, echo, fan_out, reject, slow


@pytest.fixture(autouse=True)
def address(poolhouse_stack: Stack, monkeypatch: pytest.MonkeyPatch) -> str:
    url = poolhouse_stack.endpoints.api_url
    monkeypatch.setenv("POOLHOUSE_API_URL", url)
    return url


def test_a_task_is_submitted_and_its_result_is_a_model() -> None:
    task = echo.submit(Echo(value="Ada"))
    assert task.result(timeout_s=30) == Echoed(value="Ada", attempt=1)
    assert task.status() == "succeeded"
    assert [event.data["status"] for event in task.events()][-1] == "succeeded"
    with pytest.raises(ApiError) as caught:
        task.cancel()
    assert caught.value.status == 409


def test_the_same_with_asyncio_many_at_a_time() -> None:
    async def both() -> list[Echoed]:
        tasks = [await echo.submit_async(Echo(value=number)) for number in range(5)]
        results = await asyncio.gather(*(task.result(timeout_s=30) for task in tasks))
        assert await tasks[0].status() == "succeeded"
        assert [event.data["status"] async for event in tasks[0].events()][-1] == "succeeded"
        return results

    # Each run has a loop, and so a client, of its own; both are closed with it.
    for _ in range(2):
        assert [result.value for result in asyncio.run(both())] == list(range(5))


def test_one_client_serves_many_threads(address: str) -> None:
    with Client(address) as client, ThreadPoolExecutor(8) as pool:
        results = pool.map(lambda n: client.submit(echo, Echo(value=n)).result(timeout_s=30), range(16))
        assert [result.value for result in results] == list(range(16))


@pytest.mark.parametrize("size", [0, 5, 25])
def test_a_group_is_joined_with_a_result_of_its_type(address: str, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(calls, "BATCH", 10)  # three calls for 25
    with Client(address) as client:
        group = client.group((echo.ref(Echo(value=number)) for number in range(size)), then=collect.ref())
        assert group.join is not None
        assert group.join.result(timeout_s=60) == list(range(size))
        state = group.state()
        assert (state["status"], state["settled"], state["counts"]["succeeded"]) == ("ended", size, size)
        with pytest.raises(ApiError) as caught:
            group.cancel()
        assert caught.value.status == 409


def test_the_same_key_goes_on_with_a_group(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "BATCH", 10)
    with Client(address) as client:
        twice = [
            client.group([echo.ref(Echo(value=n)) for n in range(25)], idempotency_key="typed-group") for _ in range(2)
        ]
    assert twice[0].group_id == twice[1].group_id
    assert twice[0].join is None


def test_a_group_with_asyncio(address: str) -> None:
    async def grouped() -> list[object]:
        async with AsyncClient(address) as client:
            group = await client.group([echo.ref(Echo(value=number)) for number in range(5)], then=collect.ref())
            assert group.join is not None
            found = await group.join.result(timeout_s=60)
            assert (await group.state())["status"] == "ended"
            return found

    assert asyncio.run(grouped()) == list(range(5))


def test_a_handler_in_a_process_of_its_own_makes_a_group(address: str) -> None:
    group_id = fan_out.submit(FanOut(count=20)).result(timeout_s=60)
    with Client(address) as client:
        join = client.get(f"/groups/{group_id}")["then"]["task_id"]
        assert client.task(join, collect).result(timeout_s=60) == list(range(20))


def test_a_chain_is_submitted_with_its_first_task() -> None:
    first = echo.ref(Echo(value="a")).then(echo.ref(into="value")).submit()
    assert first.result(timeout_s=30) == Echoed(value="a", attempt=1)


def test_a_wait_that_is_too_short_leaves_the_task_alone() -> None:
    task = slow.submit(Slow(duration_s=30))
    with pytest.raises(ResultTimeout, match="it goes on"):
        task.result(timeout_s=0.5)
    assert task.cancel() in {"running", "cancelled"}
    with pytest.raises(TaskFailed) as caught:
        task.result(timeout_s=30)
    assert caught.value.status == "cancelled"


def test_a_wait_of_asyncio_that_is_too_short_leaves_the_task_alone() -> None:
    async def impatient() -> None:
        task = await slow.submit_async(Slow(duration_s=30))
        with pytest.raises(ResultTimeout):
            await task.result(timeout_s=0.5)
        await task.cancel()
        with pytest.raises(TaskFailed):
            await task.result(timeout_s=30)

    asyncio.run(impatient())


def test_a_refused_task_has_its_handlers_words() -> None:
    with pytest.raises(TaskFailed, match="not today") as caught:
        reject.submit(Failing(message="not today")).result(timeout_s=30)
    assert caught.value.status == "failed"


def test_options_reach_the_api() -> None:
    first, second = (echo.submit(Echo(value=1), idempotency_key="typed-calls-1").task_id for _ in range(2))
    assert first == second
    with pytest.raises(ApiError, match="nowhere"):
        echo.submit(Echo(), queue="nowhere")
    assert echo.submit(Echo(value=1), delay_s=3600).cancel() == "cancelled"


def test_a_task_type_that_nobody_handles_is_refused_with_those_there_are() -> None:
    with pytest.raises(ApiError, match=r"unknown task type 'unheard-of' \(known: .*sample\.echo"):
        TaskType("unheard-of", Echo, Echoed).submit(Echo())


def test_a_file_goes_up_and_comes_down_as_a_stream(address: str) -> None:
    data = bytes(range(256)) * 4096 * 64  # 64 MiB
    with Client(address) as client:
        client.files.upload("typed/large.bin", io.BytesIO(data))
        digest = 0
        tracemalloc.start()
        with client.files.open("typed/large.bin") as file:
            while piece := file.read(CHUNK_BYTES):
                digest += len(piece)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert digest == len(data)
        assert peak < 8 * 1024 * 1024
        with pytest.raises(ApiError, match="there is no file typed/none in uploads/"), client.files.open("typed/none"):
            pass
        client.files.upload("typed/empty", b"")
        with client.files.open("typed/empty") as file:
            assert file.read() == b""


def test_files_with_asyncio(address: str) -> None:
    async def there_and_back() -> bytes:
        async with AsyncClient(address) as client:
            await client.files.upload("typed/small.txt", b"small" * 1000)
            async with client.files.open("typed/small.txt") as pieces:
                return b"".join([piece async for piece in pieces])

    assert asyncio.run(there_and_back()) == b"small" * 1000
