"""The one place that runs gcloud."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from poolhouse.cloud.errors import CloudError, GcloudFailed
from poolhouse.cloud.gcloud import advice, environment
from poolhouse.cloud.resource import Command, Json, Read

#: Waits between attempts of what may pass by itself, in seconds: two minutes in all, as fresh accounts may need.
WAITS_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
#: Waits for what is there but not seen everywhere yet (`advice.verdict`: unseen), in seconds: ten minutes in all.
UNSEEN_WAITS_S = (5.0, 10.0, 15.0, 30.0, *[60.0] * 9)
#: Longest time from the first such refusal to the last attempt, in seconds: a refused build takes minutes itself.
UNSEEN_S = 600.0
#: Longest time of one command, in seconds; a build is the longest.
TIMEOUT_S = 1800
#: Commands at the same time. They mostly wait; each takes about a second of CPU to start.
PARALLEL = 8

#: Longest time that the main thread waits without a look at signals, in seconds: one that comes just before a wait
#: begins does not end it.
GLANCE_S = 1.0

_T = TypeVar("_T")
_R = TypeVar("_R")

#: Called before each further attempt with the command, gcloud's message and the wait in seconds.
OnRetry = Callable[[str, str, float], None]


@dataclass(frozen=True, kw_only=True)
class Call:
    """One command that was run: for reports and tests."""

    command: str
    seconds: float
    exit_code: int


class Gcloud:
    """Runs commands in one project, safe to use from many threads.

    Args:
        project: added to every command.
        env: further environment variables (a rehearsal's proxy).
        executable: the program.
        waits_s: waits between attempts, in seconds.
        unseen_waits_s: waits for what is there but not seen everywhere yet, in seconds.
        unseen_s: longest time that these waits and the attempts between them may take, in seconds.
    """

    def __init__(
        self,
        project: str,
        *,
        env: Mapping[str, str] | None = None,
        executable: str = "gcloud",
        waits_s: Sequence[float] = WAITS_S,
        unseen_waits_s: Sequence[float] = UNSEEN_WAITS_S,
        unseen_s: float = UNSEEN_S,
    ) -> None:
        """Find the program. Raises `CloudError` where there is none."""
        self._env = environment.of_call(os.environ, env)
        found = shutil.which(executable, path=self._env.get("PATH"))
        if found is None:
            raise CloudError(
                f"{executable}: not found. Install the Google Cloud CLI: https://cloud.google.com/sdk/docs/install"
            )
        self._program = found
        self._project = project
        self._waits_s: Mapping[advice.Verdict, Sequence[float]] = {"transient": waits_s, "unseen": unseen_waits_s}
        self._unseen_s = unseen_s
        self._broken_off = threading.Event()
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self.calls: list[Call] = []

    @property
    def program(self) -> str:
        """Path of the program."""
        return self._program

    def run(
        self,
        command: Command,
        *,
        values: Mapping[str, str] | None = None,
        secret: str | None = None,
        on_retry: OnRetry | None = None,
    ) -> str:
        """Run a command that changes something; returns its standard output.

        Args:
            command: what to run.
            secret: its standard input: on no command line, in no file, shown nowhere.
            values: what `{NAME}` stands for in the command's arguments and files.
            on_retry: called before each further attempt.

        Raises:
            GcloudFailed: it failed, and trying again did not help or would not.
        """
        with tempfile.TemporaryDirectory(prefix="poolhouse-") as folder:
            known = {f"{{{name}}}": value for name, value in (values or {}).items()}
            filled = dict(known)
            for name, text in command.files.items():
                path = Path(folder, name)
                path.write_text(_fill(text, known), encoding="utf-8")
                filled[f"{{file:{name}}}"] = str(path)
            arguments = [_fill(word, filled) for word in command.arguments]
            return self._attempts(
                arguments, shown=command.shown(), secret=secret, reason=command.reason, on_retry=on_retry
            )

    def read(self, read: Read) -> Json:
        """What a read prints, as JSON; None where there is no such thing. Raises `GcloudFailed` unless optional."""
        arguments = [*read.arguments, "--format=json"]
        try:
            output = self._attempts(arguments, shown=shlex.join(["gcloud", *arguments]), reading=True)
        except _Absent:
            return None
        except GcloudFailed:
            if not read.optional:
                raise
            return None
        return json.loads(output) if output.strip() else None

    def read_all(self, reads: Sequence[Read]) -> dict[tuple[str, ...], Json]:
        """Run reads in parallel; the answers are keyed by their arguments. Raises the first `GcloudFailed`."""
        with self.threads("read") as pool:
            answers = together(pool, self.read, reads)
        return {read.arguments: answer for read, answer in zip(reads, answers, strict=True)}

    def has_flag(self, arguments: Sequence[str], name: str) -> bool:
        """Whether this gcloud has a command with that flag: by its help text, which takes a second."""
        code, output, _ = self._once([*arguments, "--help"], shlex.join(["gcloud", *arguments, "--help"]))
        return code == 0 and f"--{name}" in output.replace("--[no-]", "--")

    @contextlib.contextmanager
    def threads(self, name: str) -> Iterator[ThreadPoolExecutor]:
        """Threads that run commands side by side; Ctrl-C ends what they run, and they start nothing more."""
        with ThreadPoolExecutor(PARALLEL, thread_name_prefix=name) as pool:
            try:
                yield pool
            except KeyboardInterrupt:
                self._break_off()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _break_off(self) -> None:
        with self._lock:
            self._broken_off.set()
            for process in self._running:
                _end(process)

    def _attempts(
        self,
        arguments: Sequence[str],
        *,
        shown: str,
        reading: bool = False,
        secret: str | None = None,
        reason: Callable[[str], tuple[str, ...] | None] | None = None,
        on_retry: OnRetry | None = None,
    ) -> str:
        waits = {verdict: iter(waits_s) for verdict, waits_s in self._waits_s.items()}
        unseen_since: float | None = None
        while True:
            code, output, errors = self._once(arguments, shown, secret)
            if code == 0:
                return output
            if reason is not None and (asking := reason(errors)) is not None:
                errors += self._once(asking, shlex.join(["gcloud", *asking]))[1]
            verdict = advice.verdict(errors, reading=reading)
            if verdict == "absent":
                raise _Absent
            wait_s = next(waits[verdict], None) if verdict in waits else None
            if verdict == "unseen":
                now = time.monotonic()
                unseen_since = now if unseen_since is None else unseen_since
                wait_s = None if now - unseen_since > self._unseen_s else wait_s
            if wait_s is None:
                raise GcloudFailed(f"{shown} --project={self._project}", errors, advice=advice.advise(errors))
            if on_retry is not None:
                on_retry(shown, errors, wait_s)
            self._broken_off.wait(wait_s)

    def _once(self, arguments: Sequence[str], shown: str, secret: str | None = None) -> tuple[int, str, str]:
        started = time.monotonic()
        with self._lock:
            if self._broken_off.is_set():
                raise _BrokenOff
            process = subprocess.Popen(
                [self._program, *arguments, f"--project={self._project}", "--quiet"],
                stdin=subprocess.DEVNULL if secret is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                env=self._env,
                # A group of its own: it has children, and a terminal's Ctrl-C must not reach it behind our back.
                process_group=0,
            )
            self._running.add(process)
        try:
            output, errors = process.communicate(secret, timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            _end(process)
            output, errors = process.communicate()
            errors += f"\nstopped after {TIMEOUT_S} s"
        except BaseException:  # Ctrl-C in the main thread
            _end(process)
            process.communicate()
            raise
        finally:
            with self._lock:
                self._running.discard(process)
        seconds = time.monotonic() - started
        self.calls.append(Call(command=shown, seconds=seconds, exit_code=process.returncode))
        return process.returncode, output, errors


def together(pool: ThreadPoolExecutor, function: Callable[[_T], _R], items: Iterable[_T]) -> list[_R]:
    """A function's results for all items; raises what the first of them raised."""
    jobs = [pool.submit(function, item) for item in items]
    while wait(jobs, timeout=GLANCE_S).not_done:
        pass
    return [job.result() for job in jobs]


class _Absent(Exception):
    """The thing that was read is not there."""


class _BrokenOff(Exception):
    """The person has broken off: nothing is started any more."""


def _end(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: all that is left of it are zombies
        os.killpg(process.pid, signal.SIGTERM)


def _fill(word: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        word = word.replace(name, value)
    return word
