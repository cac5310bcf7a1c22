"""A checkout with a pipeline of its own, and what a person does with it: deploy it to a simulated Google Cloud."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil

from poolhouse.cloud.canary.rollout import roll_out
from poolhouse.cloud.canary.watch import Clock
from poolhouse.cloud.deploy import Prepared, deploy
from poolhouse.cloud.gcloud.runner import Gcloud
from poolhouse.cloud.options import Options
from poolhouse.cloud.rehearsal.control_plane import Logged
from poolhouse.cloud.rehearsal.simulation import PROJECT, Simulation
from poolhouse.pipeline.config import topology
from poolhouse.project import ROOT
from tests.kit.waiting import until

PIPELINE = """
name = "shop"
handlers = ["worker.handlers", "poolhouse.worker.samples"]

[queues.mail.workers]
max_instances = 3

[schedules.nightly]
cron = "30 3 * * *"
task_type = "sample.echo"
payload = { value = "all, really" }
missed_runs = "once"

[bucket.lifecycle_days]
uploads = 30
"""
#: The libraries of its image: what tracing and the deployed console need.
LOCKED = ("cryptography", "jinja2", "opentelemetry-exporter-otlp-proto-http", "python-multipart")
#: Longest wait for a command, in seconds.
TIMEOUT_S = 120


@dataclass
class Rehearsal:
    simulation: Simulation
    root: Path

    def gcloud(self) -> Gcloud:
        # The waits are real ones, only shorter: every retry must still be needed and enough.
        return Gcloud(PROJECT, env=self.simulation.env, waits_s=(0.2,) * 6, unseen_waits_s=(0.2,) * 6)

    def write(self, pipeline: str) -> None:
        (self.root / "pipeline.toml").write_text(pipeline)

    def command(self, *words: str, asked: bool = False, own_program: bool = False) -> subprocess.Popen[str]:
        """A command as a person types it, in this checkout.

        Args:
            words: the command.
            asked: with somebody there to answer its question.
            own_program: with gcloud's own program.
        """
        path = {"PATH": os.environ["PATH"]} if own_program else {}
        return subprocess.Popen(
            (sys.executable, "-m", "invoke", *words, "--project", PROJECT),
            cwd=self.root,
            env={**os.environ, **self.simulation.env, **path},
            stdin=subprocess.PIPE if asked else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *words: str, answer: str | None = None) -> tuple[int, str]:
        with self.command(*words, asked=answer is not None) as running:
            output, _ = running.communicate(answer, timeout=TIMEOUT_S)
        return running.returncode, output

    def break_off(self, number: signal.Signals, *, at: Callable[[Logged], bool]) -> tuple[int, str]:
        """Send a signal to a deploy as soon as a request is seen; then nothing of it may be left.

        SIGTERM has to end gcloud's own program. SIGKILL goes to the gcloud commands too, as where the machine goes
        down: nothing else could end them, and one that nobody listens to any more may take its time.
        """
        seen = len(self.simulation.control_plane.log)
        with self.command("deploy", "--yes", own_program=number is signal.SIGTERM) as running:
            until(
                lambda: any(at(entry) for entry in self.simulation.control_plane.log[seen:]),
                "the request",
                timeout_s=TIMEOUT_S,
            )
            children = psutil.Process(running.pid).children(recursive=True)
            running.send_signal(number)
            if number is signal.SIGKILL:
                for child in filter(runs, children):
                    child.kill()
            output, _ = running.communicate(timeout=TIMEOUT_S)
        until(
            lambda: not any(map(runs, children)),
            timeout_s=TIMEOUT_S,
            what=lambda: f"still there: {[*filter(runs, children)]}",
        )
        return running.returncode, output

    def canary(self, at_each_look: Callable[[], None], *, percent: int = 10, watch_s: float = 60) -> str:
        """Deploy with a canary whose watch takes no time; returns what was said.

        Args:
            at_each_look: called instead of waiting.
            percent: share of the new release.
            watch_s: how long it is watched, in seconds.
        """
        loaded, said = topology.load(self.root / "pipeline.toml"), list[str]()
        now = datetime.now(UTC)

        def sleep(seconds: float) -> None:
            nonlocal now
            now += timedelta(seconds=seconds)
            at_each_look()

        roll_out(
            self.gcloud(),
            loaded,
            options=Options.declared(loaded, project=PROJECT),
            root=self.root,
            percent=percent,
            watch_s=watch_s,
            ask=lambda question: True,
            say=said.append,
            clock=Clock(now=lambda: now, sleep=sleep),
        )
        return "\n".join(said)

    def deploy(
        self,
        *,
        gcloud: Gcloud | None = None,
        prune: bool = False,
        stage: str = "",
        say: Callable[[str], None] = lambda line: None,
        **choices: object,
    ) -> Prepared:
        loaded = topology.load(self.root / "pipeline.toml", stage=stage)
        options = dataclasses.replace(Options.declared(loaded, project=PROJECT), **choices)  # type: ignore[arg-type]
        return deploy(
            gcloud or self.gcloud(),
            loaded,
            options=options,
            root=self.root,
            prune=prune,
            ask=lambda question: True,
            say=say,
        )


def runs(process: psutil.Process) -> bool:
    """Whether it does; one that has ended and that nobody has asked for its exit code (a zombie) does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def work(prepared: Prepared) -> list[str]:
    return [f"{action.verb} {action.resource.id}" for action in prepared.plan.work]


def make_root(folder: Path) -> Path:
    """A checkout with a pipeline of its own."""
    for name in ("tasks.py", "poolhouse", "worker"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY pipeline.toml requirements.lock ./\n")
    (folder / "requirements.lock").write_text("".join(f"{name}==1.2\n" for name in LOCKED))
    (folder / "pipeline.toml").write_text(PIPELINE)
    return folder
