"""Task types that do to their process, or to their worker, what handlers do out in the world."""

from __future__ import annotations

import asyncio
import ctypes
import decimal
import gc
import locale
import logging
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import uuid
import warnings
from collections.abc import Callable
from concurrent.futures import CancelledError, ProcessPoolExecutor
from typing import Annotated, Any

import structlog
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, computed_field

from poolhouse.worker import Payload, Reject, Retry, TaskCancelled, TaskContext, WorkerStopping, task

#: Marks the command line of every tool started here, so that a test finds those that are left: `sleep` takes it as
#: a time. Set by the test.
MARK_S = os.environ.get("ROUGH_MARK_S", "60")


class Nothing(Payload):
    pass


class Where(Payload):
    """A file that the handler writes into."""

    path: str = ""


def square(number: int) -> int:
    return number * number


class _Arguments(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


class _Unpicklable(Exception):
    def __reduce__(self) -> Any:
        raise RuntimeError("no copy of me")


class _Unreadable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def _deep(depth: int) -> int:
    return _deep(depth + 1)


def _pool(method: str) -> list[int]:
    with multiprocessing.get_context(method).Pool(2) as pool:
        return pool.map(square, range(4))


def _executor() -> list[int]:
    with ProcessPoolExecutor(2) as pool:
        return list(pool.map(square, range(4)))


def _fork_and_return() -> str:
    pid = os.fork()
    if pid == 0:
        return "the child came back"
    return f"the child ended with {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}"


def _fork_and_raise() -> str:
    pid = os.fork()
    if pid == 0:
        raise RuntimeError("in the child")
    return f"the child ended with {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}"


async def _async_answer() -> str:
    await asyncio.sleep(0)
    return "from a loop of its own"


def _change_everything() -> str:
    os.chdir("/")
    os.environ["BUCKET_NAME"] = "of-somebody-else"
    os.environ["TZ"] = "Asia/Kathmandu"
    time.tzset()
    locale.setlocale(locale.LC_ALL, "C")
    warnings.simplefilter("error")
    gc.disable()
    sys.setrecursionlimit(5000)
    logging.basicConfig(force=True, level=logging.CRITICAL)
    logging.disable(logging.CRITICAL)
    return "changed"


def _limit_everything() -> str:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
    os.nice(1)
    return "limited"


def _alarm() -> str:
    signal.alarm(1)
    time.sleep(1.2)
    return "after the alarm"


def _in_context() -> list[Any]:
    """What it finds in its context, and leaves there."""
    found = [decimal.getcontext().prec, structlog.contextvars.get_contextvars()]
    decimal.getcontext().prec = 3
    structlog.contextvars.bind_contextvars(somebody="else")
    return found


def _close_everything() -> str:
    sys.stdout.close()
    sys.stderr.close()
    os.close(1)
    os.close(2)
    return "closed"


def _raises(error: BaseException) -> Callable[[], Any]:
    def call() -> Any:
        raise error

    return call


#: What may be asked for by name, in a thread and in a process.
DEEDS: dict[str, Callable[[], Any]] = {
    "exit": lambda: sys.exit(3),
    "os_exit": lambda: os._exit(7),
    "keyboard_interrupt": _raises(KeyboardInterrupt("from the handler")),
    "generator_exit": _raises(GeneratorExit("from the handler")),
    "cancelled_error": _raises(CancelledError("from the handler")),
    "stop_iteration": _raises(StopIteration("from the handler")),
    "own_cancel": _raises(TaskCancelled("nobody said so")),
    "own_stop": _raises(WorkerStopping("nobody said so")),
    "arguments": _raises(_Arguments(1, 2)),
    "unpicklable": _raises(_Unpicklable("odd")),
    "unreadable": _raises(_Unreadable()),
    "group": _raises(ExceptionGroup("all", [ExceptionGroup("inner", [Reject("from a group")])])),
    "recursion": lambda: _deep(0),
    "memory": _raises(MemoryError("too much")),
    "signal_in_thread": lambda: str(signal.signal(signal.SIGTERM, signal.SIG_IGN)),
    "asyncio_run": lambda: asyncio.run(_async_answer()),
    "pool_fork": lambda: _pool("fork"),
    "pool_spawn": lambda: _pool("spawn"),
    "pool_forkserver": lambda: _pool("forkserver"),
    "executor": _executor,
    "fork_and_return": _fork_and_return,
    "fork_and_raise": _fork_and_raise,
    "surrogates": lambda: print("a file named caf\udce9") or "printed",
    "huge_output": lambda: print("x" * 1_000_000) or "printed",
    "close": _close_everything,
    "input": lambda: input("your name? "),
    "change": _change_everything,
    "thread_left": lambda: threading.Thread(target=time.sleep, args=(600,), daemon=False).start() or "left",
    "limit": _limit_everything,
    "limits": lambda: [resource.getrlimit(resource.RLIMIT_NOFILE), os.getpriority(os.PRIO_PROCESS, 0)],
    "alarm": _alarm,
    "context": _in_context,
    "fine": lambda: "fine",
    "where": lambda: [os.getcwd(), os.environ["BUCKET_NAME"], os.environ.get("TZ"), sys.getrecursionlimit()],
}


class Deed(Payload):
    name: str


@task("in_thread", max_attempts=1)
def in_thread(payload: Deed, ctx: TaskContext) -> Any:
    return DEEDS[payload.name]()


@task("in_process", max_attempts=1, cpu=True)
def in_process(payload: Deed, ctx: TaskContext) -> Any:
    return DEEDS[payload.name]()


@task("in_loop", max_attempts=1)
async def in_loop(payload: Deed, ctx: TaskContext) -> Any:
    return DEEDS[payload.name]()


@task("crash", max_attempts=1, cpu=True)
def crash(payload: Deed, ctx: TaskContext) -> None:
    if payload.name == "abort":
        os.abort()
    ctypes.string_at(0)


@task("crash_worker", max_attempts=3)
def crash_worker(payload: Where, ctx: TaskContext) -> None:
    """End the worker itself once a neighbour runs beside it, if one is to."""
    while payload.path and not os.path.exists(payload.path):
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGKILL)


@task("end_streams", max_attempts=1)
def end_streams(payload: Nothing, ctx: TaskContext) -> int:
    """End the threads that pull messages, as a mistake below the client library would; it takes no note of that."""
    pulling = [thread for thread in threading.enumerate() if thread.name == "Thread-ConsumeBidirectionalStream"]
    for thread in pulling:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit))
        thread.join()
    return len(pulling)


@task("beside", max_attempts=2)
def beside(payload: Where, ctx: TaskContext) -> int:
    with open(payload.path, "w"):
        pass
    time.sleep(1)
    return ctx.attempt


@task("pool_at_work")
def pool_at_work(payload: Nothing, ctx: TaskContext) -> None:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        ctx.progress(1)
        pool.map(time.sleep, [600, 600])


@task("crash_with_children", max_attempts=1, cpu=True)
def crash_with_children(payload: Nothing, ctx: TaskContext) -> None:
    """Die while forked children hold a copy of the pipe to the worker."""
    multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,)).start()
    subprocess.Popen(["sleep", MARK_S])
    os.kill(os.getpid(), signal.SIGKILL)


@task("tool", cpu=True)
def tool(payload: Nothing, ctx: TaskContext) -> None:
    subprocess.Popen(["sleep", MARK_S], start_new_session=True)
    subprocess.run(["sleep", MARK_S], check=False)


@task("tool_in_time", cpu=True, timeout_s=1, max_attempts=1)
def tool_in_time(payload: Nothing, ctx: TaskContext) -> None:
    subprocess.run(["sh", "-c", f"sleep {MARK_S} & sleep {MARK_S}"], check=False)


@task("tool_left", cpu=True)
def tool_left(payload: Nothing, ctx: TaskContext) -> int:
    return subprocess.Popen(["sleep", MARK_S]).pid


@task("signals_of_tools", cpu=True)
def signals_of_tools(payload: Nothing, ctx: TaskContext) -> str:
    """The signals that a tool ignores, as a mask."""
    status = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True, check=True).stdout
    return next(line.split()[1] for line in status.splitlines() if line.startswith("SigIgn"))


@task("rows", max_attempts=1)
def rows(payload: Nothing, ctx: TaskContext) -> int:
    """Try each row for itself, and count those that fail."""
    failed = 0
    for _ in range(600):
        try:
            ctx.checkpoint()
            time.sleep(0.05)
        except Exception:  # noqa: BLE001 - this is what is tested
            failed += 1
    return failed


@task("rows_in_process", max_attempts=1, cpu=True)
def rows_in_process(payload: Nothing, ctx: TaskContext) -> int:
    return rows(payload, ctx)


@task("rows_in_time", max_attempts=1, timeout_s=1)
def rows_in_time(payload: Where, ctx: TaskContext) -> None:
    """Go on after anything at all, and leave a trace of each row."""
    for number in range(6000):
        try:
            time.sleep(0.05)
            with open(payload.path, "a") as file:
                file.write(f"{number}\n")
        except Exception:  # noqa: BLE001 - this is what is tested
            continue


@task("bare_except", max_attempts=1)
def bare_except(payload: Nothing, ctx: TaskContext) -> str:
    while True:
        try:
            ctx.progress(1)
            ctx.checkpoint()
            time.sleep(0.02)
        except BaseException:  # noqa: BLE001 - this is what is tested
            return "whatever"


@task("blocking", timeout_s=30)
async def blocking(payload: Nothing, ctx: TaskContext) -> str:
    time.sleep(5)  # noqa: ASYNC251 - this is what is tested
    return "blocked them all"


@task("stubborn", timeout_s=1, max_attempts=1)
async def stubborn(payload: Nothing, ctx: TaskContext) -> None:
    while True:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            continue


@task("sleepy")
def sleepy(payload: Nothing, ctx: TaskContext) -> int:
    """An innocent neighbour: how often it was started."""
    time.sleep(8)
    return ctx.attempt


@task("say_in_thread")
def say_in_thread(payload: Nothing, ctx: TaskContext) -> None:
    print("printed")
    print("unended", end="")
    logging.getLogger("somebody").warning("logged %d", 1)
    logging.getLogger("somebody").info("info")
    ctx.log.error("told", field=float("nan"))
    warnings.warn("warned", stacklevel=1)


@task("say_in_process", cpu=True)
def say_in_process(payload: Nothing, ctx: TaskContext) -> None:
    say_in_thread(payload, ctx)


class Inner(BaseModel):
    kind: str = "inner"
    made: str = Field(default_factory=lambda: uuid.uuid4().hex)


class Odd(BaseModel):
    """Fields that are lost, changed or refused where a model is dumped and parsed again."""

    model_config = ConfigDict(extra="allow")

    secret: SecretStr
    aliased: int = Field(alias="theAlias")
    listed: Annotated[list[str], BeforeValidator(lambda text: text.split(","))]
    hidden: str = Field(default="unknown", exclude=True)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def doubled(self) -> int:
        return 2 * self.aliased


def _seen(payload: Odd) -> list[Any]:
    return [
        payload.secret.get_secret_value(),
        payload.aliased,
        payload.listed,
        payload.hidden,
        payload.doubled,
        payload.model_extra,
    ]


@task("odd_in_thread")
def odd_in_thread(payload: Odd, ctx: TaskContext) -> list[Any]:
    return _seen(payload)


@task("odd_in_process", cpu=True)
def odd_in_process(payload: Odd, ctx: TaskContext) -> list[Any]:
    return _seen(payload)


class Made(Payload):
    key: str = Field(default_factory=lambda: uuid.uuid4().hex)
    inner: Inner = Field(default_factory=Inner)


@task("made_once")
def made_once(payload: Made, ctx: TaskContext) -> list[str]:
    ctx.log.info("made", key=payload.key, inner=payload.inner.made)
    if ctx.attempt < 3:
        raise Retry("once more", after_s=0)
    return [payload.key, payload.inner.made]
