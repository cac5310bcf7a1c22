"""`invoke e2e`: one run over a stack, from the first upload to the last dead letter."""

from __future__ import annotations

import os
import secrets
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from poolhouse.client import schema
from poolhouse.client.event_stream import FINAL
from poolhouse.local import backends, state
from poolhouse.local.backend import Backend, UpOptions, default_state_dir
from poolhouse.local.e2e import builtin, project
from poolhouse.local.e2e.case import Case, Record
from poolhouse.local.e2e.client import Client
from poolhouse.local.e2e.report import Line, Report
from poolhouse.local.errors import StackError
from poolhouse.local.safe_console import SafeConsole
from poolhouse.pipeline.config import topology
from poolhouse.project import ROOT

#: The longest that the tasks may take, in seconds; a restart of the workers and three backoffs are in it.
TIMEOUT_S = 120
#: The longest that a stack of its own may take to start, in seconds: a busy machine is no failure of the pipeline.
UP_TIMEOUT_S = 180
#: Tasks that the latency is measured with, one after the other.
_LATENCY_TASKS, _QUICK_LATENCY_TASKS = 30, 3
_POLL_S = 0.05
#: The restart is to fall into this task: it is far longer than the workers' grace period, but only the first time.
_LONG_S, _SHORT_S = 60.0, 0.3


@dataclass
class _Running:
    case: Case
    line: Line
    ids: Sequence[str]
    records: dict[str, Record] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        return len(self.records) == len(self.ids)


def run(
    *,
    backend: str | None = None,
    quick: bool = False,
    pubsub: str | None = None,
    state_dir: Path | None = None,
    console: Console | None = None,
) -> int:
    """Run the e2e on the stack that is up, or on one of its own; 0 all as expected, 1 not.

    Args:
        backend: of the stack to bring up where none is.
        quick: a few tasks only, which between them take every road through the stack.
        pubsub: the emulator of that stack, where it is one of containers.
        state_dir: where the stack's state is.
        console: where to write.
    """
    state_dir = state_dir or default_state_dir()
    console = console or SafeConsole()
    # Not one that `docker compose up` started: it has no sample handlers.
    if state.read_live(state_dir) is not None:
        chosen = backends.current(state_dir)
        console.print(f"on the stack that is up ({chosen.name})")
        return check(chosen, console, quick=quick)
    choice = backends.choose(backend or ("compose" if pubsub else None), state_dir=state_dir)
    console.print(f"starting a stack: {choice.backend.name} ({choice.reason})")
    started = time.monotonic()
    # Attached: should this process be killed, the stack ends too.
    choice.backend.up(UpOptions(attached=True, timeout_s=UP_TIMEOUT_S, pubsub=pubsub), console.print)
    try:
        console.print(f"ready in {time.monotonic() - started:.1f} s")
        return check(choice.backend, console, quick=quick)
    finally:
        choice.backend.down()


def check(backend: Backend, console: Console, *, quick: bool = False) -> int:
    """Run the e2e on the backend's stack, which is up; 0 all as expected, 1 not."""
    started = time.monotonic()
    client = Client(backend.endpoints())
    try:
        with Report(console) as report:
            _Run(backend, client, report, quick=quick).everything()
    finally:
        client.close()
    if console.is_terminal:
        console.print(report.table())
    took_s = time.monotonic() - started
    if report.differences:
        console.print(f"\n[red]{len(report.differences)} difference(s)[/] after {took_s:.1f} s:")
        for line in report.differences:
            console.print(f"  {line}", markup=False)
        console.print("more in the logs: ./invoke logs")
        return 1
    tasks = sum(line.tasks for line in report.lines)
    latency = next(line.note for line in report.lines if line.name == "latency")
    console.print(f"[green]all as expected[/]: {tasks} tasks in {took_s:.1f} s; no-op task {latency}")
    return 0


class _Run:
    def __init__(self, backend: Backend, client: Client, report: Report, *, quick: bool) -> None:
        self._backend = backend
        self._quick = quick
        self._latency_tasks = _QUICK_LATENCY_TASKS if quick else _LATENCY_TASKS
        self._client = client
        self._report = report
        self._name = f"e2e-{secrets.token_hex(4)}"
        self._project = project.load(topology.load(_topology_file()).e2e)
        self._files = self._project.files()
        self._running: list[_Running] = []
        #: What has succeeded: task types, and operations and steps as `TYPE: NAME`.
        self._done: set[str] = set()
        self._restarting: threading.Thread | None = None
        #: Reasons of the dead letters that must be there, by `task ID` or `message ID`.
        self._expected_dead: dict[str, str] = {}

    def everything(self) -> None:
        """All of it; what keeps the run from going on is a difference too."""
        try:
            self._all()
        except StackError as error:
            self._report.end(self._report.add("the run itself"), [str(error)])
        finally:
            if self._restarting is not None:
                self._restarting.join()

    def _all(self) -> None:
        self._before = {letter["task_id"] for letter in self._client.dead_letters()}
        self._step("latency", self._latency, tasks=self._latency_tasks)
        queues = [queue["name"] for queue in self._client.queues()]
        if self._files:
            self._step(f"upload {len(self._files)} files", self._upload, through="/files")
        openapi = self._client.openapi()
        payloads = [schema.payload(openapi, task_type) for task_type in schema.task_types(openapi)]
        for case in (*self._project.cases(self._name, queues=queues), *builtin.make(self._name, queues=queues)):
            if not self._quick or case.name in self._project.quick() | builtin.QUICK:
                self._submit(case)
        self._step("publish malformed messages", self._poison, through="Pub/Sub")
        if not self._quick:
            self._cancel()
            self._restart()
        self._wait()
        if not self._quick and self._project.every_kind_of():
            self._step("every operation and step has run", lambda line: self._all_kinds(line, payloads))
        self._step("dead letters", self._dead_letters, through="/dead-letters")
        self._step("nothing left over", self._drained, through="/queues")

    def _step(self, name: str, step: Callable[[Line], list[str]], *, through: str = "", tasks: int = 0) -> None:
        line = self._report.add(name, through)
        line.tasks = tasks
        try:
            differences = step(line)
        except StackError as error:
            differences = [str(error)]
        line.done = line.tasks
        self._report.end(line, differences)

    def _latency(self, line: Line) -> list[str]:
        line.through = "/tasks"
        times = []
        for number in range(self._latency_tasks):
            started = time.perf_counter()
            task_id = self._client.submit("/tasks", {"task_type": "sample.echo", "payload": {"value": number}})[
                "task_id"
            ]
            while not self._client.finished(task_id):
                if time.perf_counter() - started > TIMEOUT_S:
                    return [f"task {task_id} has no result after {TIMEOUT_S} s"]
                time.sleep(0.002)
            times.append(1000 * (time.perf_counter() - started))
        line.note = f"POST to result p50 {statistics.median(times):.0f} ms, longest {max(times):.0f} ms"
        return []

    def _upload(self, line: Line) -> list[str]:
        for name, file in self._files.items():
            self._client.upload(f"{self._name}/{name}", file.data, content_type=file.content_type)
        line.note = f"{sum(len(file.data) for file in self._files.values()) / 1024:.0f} KiB straight to storage"
        return []

    def _submit(self, case: Case) -> None:
        line = self._report.add(case.name, case.through)
        try:
            ids = case.submit(self._client)
        except StackError as error:
            self._report.end(line, [str(error)])
            return
        line.tasks = len(ids)
        self._running.append(_Running(case, line, ids))
        if case.dead_letter is not None:
            self._expected_dead.update({f"task {task_id}": case.dead_letter for task_id in ids})

    def _poison(self, line: Line) -> list[str]:
        queue = topology.load(_topology_file()).default_queue.topic
        poison = self._client.publish(queue, b"\x00 this is not JSON")
        unknown = self._client.publish(queue, b'{"task_type": "sample.unheard-of", "run": "%s"}' % self._name.encode())
        self._expected_dead[f"message {poison}"] = "not JSON"
        self._expected_dead[f"message {unknown}"] = "sample.unheard-of"
        return []

    def _cancel(self) -> None:
        """Cancel a task that has begun: it must end at its next checkpoint, far before its time."""

        def submit(client: Client) -> list[str]:
            return [client.submit("/tasks", _slow(_LONG_S, _LONG_S))["task_id"]]

        def check(client: Client, records: Sequence[Record]) -> list[str]:
            return [] if records[0]["status"] == "cancelled" else [f"{records[0]['status']}, expected cancelled"]

        self._submit(Case(name="cancelled while it runs", through=":cancel", submit=submit, check=check))
        running = self._running[-1]
        if self._until_running(running):
            self._client.cancel(running.ids[0])

    def _restart(self) -> None:
        """Restart the workers while a task runs that can't end in the grace period."""

        def submit(client: Client) -> list[str]:
            return [client.submit("/tasks", _slow(_LONG_S, _SHORT_S))["task_id"]]

        def check(client: Client, records: Sequence[Record]) -> list[str]:
            outcomes = [attempt["outcome"] for attempt in records[0].get("attempts", [])]
            if (records[0]["status"], outcomes[-1:]) != ("succeeded", ["succeeded"]) or len(outcomes) < 2:
                return [
                    f"{records[0]['status']} after attempts {outcomes}, expected one cut short and one that succeeds"
                ]
            return []

        self._submit(Case(name="worker restarted in the middle", through="/tasks", submit=submit, check=check))
        running = self._running[-1]
        if not self._until_running(running):
            return
        line = self._report.add("restart of the workers")

        def restart() -> None:
            try:
                self._backend.restart("worker")
            except StackError as error:
                self._report.end(line, [str(error)])
            else:
                self._report.end(line, [])

        self._restarting = threading.Thread(target=restart, name="restart")
        self._restarting.start()

    def _until_running(self, running: _Running) -> bool:
        """Wait for a task to be in the middle of its work; False, and its case ended, if it never is."""
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            self._look()
            record = self._client.task(running.ids[0])
            if record["status"] == "running":
                return True
            if record["status"] in FINAL:
                break
            time.sleep(_POLL_S)
        self._running.remove(running)
        self._report.end(running.line, ["never seen running"])
        return False

    def _wait(self) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while self._running and time.monotonic() < deadline:
            self._look()
            time.sleep(_POLL_S)
        for running in self._running:
            missing = [task_id for task_id in running.ids if task_id not in running.records]
            self._report.end(running.line, [f"not ended after {TIMEOUT_S} s: {', '.join(missing)}"])

    def _look(self) -> None:
        """See which tasks have ended; check the cases whose tasks all have."""
        for running in list(self._running):
            for task_id in running.ids:
                if task_id in running.records:
                    continue
                record = self._client.task(task_id)
                if record["status"] not in FINAL:
                    running.line.note = _progress(record)
                    break  # those behind it are looked at once it has ended
                running.records[task_id] = record
                running.line.done = len(running.records)
            if running.ended:
                self._running.remove(running)
                running.line.ended_at = time.monotonic()
                running.line.note = ""
                records = [running.records[task_id] for task_id in running.ids]
                self._note(records)
                try:
                    differences = running.case.check(self._client, records)
                except StackError as error:
                    differences = [str(error)]
                self._report.end(running.line, differences)

    def _note(self, records: Sequence[Record]) -> None:
        """What has run, by the records and the results in them."""
        for record in records:
            self._done.add(record["task_type"])
            result = record.get("result") or {}
            names = (result.get("operations") or result.get("transformations")) if isinstance(result, dict) else None
            self._done.update(f"{record['task_type']}: {name}" for name in names or ())

    def _all_kinds(self, line: Line, payloads: Sequence[schema.Payload]) -> list[str]:
        types = self._project.every_kind_of()
        wanted = {
            f"{payload.task_type}: {kind}"
            for payload in payloads
            if payload.task_type in types
            for kind in payload.kinds
        }
        line.note = f"{len(types)} types, {len(wanted)} operations and steps"
        return [f"never run: {name}" for name in sorted((wanted | types) - self._done)]

    def _dead_letters(self, line: Line) -> list[str]:
        """Exactly the expected ones, each with its reason."""
        deadline = time.monotonic() + 30
        while True:
            new = [letter for letter in self._client.dead_letters() if letter["task_id"] not in self._before]
            if len(new) >= len(self._expected_dead) or time.monotonic() > deadline:
                break
            time.sleep(_POLL_S)
        line.note = f"{len(new)}, expected {len(self._expected_dead)}"
        missing = dict(self._expected_dead)
        differences = []
        for summary in new:
            letter = self._client.dead_letter(summary["task_id"])
            for key in (f"task {letter['task_id']}", f"message {letter['message_id']}"):
                reason = missing.pop(key, None)
                if reason is not None:
                    break
            else:
                differences.append(f"unexpected: {summary}")
                continue
            if reason not in letter["reason"]:
                differences.append(f"{key}: reason {letter['reason']!r}, expected {reason!r} in it")
        return differences + [f"missing: {key} ({reason})" for key, reason in missing.items()]

    def _drained(self, line: Line) -> list[str]:
        """No queue holds a message any more, where the backend knows."""
        deadline = time.monotonic() + 30
        while True:
            left = {queue["name"]: queue["backlog"] for queue in self._client.queues() if queue["backlog"]}
            if not left or time.monotonic() > deadline:
                return [f"messages left in queues: {left}"] if left else []
            time.sleep(_POLL_S)


def _topology_file() -> str:
    """The pipeline.toml of the stack: the project's, unless PIPELINE_FILE says otherwise."""
    return os.environ.get("PIPELINE_FILE") or str(ROOT / "pipeline.toml")


def _slow(duration_s: float, later_duration_s: float) -> dict[str, Any]:
    return {
        "task_type": "sample.slow",
        "payload": {"duration_s": duration_s, "later_duration_s": later_duration_s},
    }


def _progress(record: Record) -> str:
    progress = record.get("progress")
    if progress and progress.get("total"):
        return f"{record['status']} {100 * progress['done'] / progress['total']:.0f} %"
    return str(record["status"])
