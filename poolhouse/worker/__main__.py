"""`python -m poolhouse.worker run|drain|dead-letters|schedules`: the commands of the worker image."""

from __future__ import annotations

import argparse
import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any, NoReturn

import structlog

from poolhouse.pipeline import logs, secret_values
from poolhouse.pipeline.config import settings
from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.errors import ConfigError, PoolhouseError
from poolhouse.pipeline.exit_codes import FAILED, OK, USAGE
from poolhouse.pipeline.store import open_store
from poolhouse.pipeline.timing.delays import SHORT_WAIT_S
from poolhouse.worker import registry
from poolhouse.worker.handler_secrets import check_set
from poolhouse.worker.registry import Registry
from poolhouse.worker.runtime.drain import DrainOptions, drain
from poolhouse.worker.runtime.execution import children
from poolhouse.worker.runtime.retrying import Stopping
from poolhouse.worker.runtime.worker import Worker, WorkerOptions
from poolhouse.worker.scheduler import Scheduler
from poolhouse.worker.timer_loop import LOOKAHEAD_S
from poolhouse.worker.webhooks.delivery import check_secret

#: Time after the grace period, in seconds, when a worker that has not ended says where its threads are. Whoever stops
#: it kills it then, Cloud Run 10 s after SIGTERM (Container runtime contract).
OVERDUE_S = 1.5
#: Longest sleep of the main thread, in seconds: so late it may handle a signal (`Worker.wait`).
SIGNALS_S = 1.0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="python -m poolhouse.worker", description="Work on the tasks of a Poolhouse pipeline."
    )
    commands = top.add_subparsers(dest="command", required=True)
    queue = argparse.ArgumentParser(add_help=False)
    queue.add_argument(
        "--queue", action="append", metavar="NAME", help="queue to serve; repeat for more, most urgent first (all)"
    )
    ends = argparse.ArgumentParser(add_help=False)
    ends.add_argument(
        "--linger", type=float, default=5.0, metavar="S", help="end after S seconds without a message (5)"
    )
    ends.add_argument("--budget", type=float, metavar="S", help="take on no new work after S seconds (no limit)")
    run = commands.add_parser("run", parents=[queue], help="work until SIGTERM")
    run.add_argument("--dead-letters", action="store_true", help="also keep what arrives on the dead-letter queues")
    commands.add_parser(
        "drain",
        parents=[queue, ends],
        help="work until the queues are empty; exit code 1 if tasks failed for good",
    )
    dead = commands.add_parser("dead-letters", parents=[ends], help="keep what arrives on the dead-letter queues")
    dead.add_argument("--drain", action="store_true", help="end when they are empty")
    commands.add_parser("schedules", help="submit the tasks of pipeline.toml's schedules at their times, until SIGTERM")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    options = parser().parse_args(arguments)
    try:
        environment = _environment()
        worker = _scheduler(environment) if options.command == "schedules" else _worker(environment, options)

        def stop(number: int, _: object) -> None:
            faulthandler.dump_traceback_later(environment.worker_grace_s + OVERDUE_S, file=sys.__stderr__ or 2)
            worker.stop(signal.Signals(number).name)

        children.handle_signals(stop)
        if isinstance(worker, Worker):
            _look_after(worker, environment)
        worker.start()
        if isinstance(worker, Worker) and (options.command == "drain" or getattr(options, "drain", False)):
            drain(worker, DrainOptions(linger_s=options.linger, budget_s=options.budget))
            return FAILED if worker.counts.failed_for_good else OK
        while not worker.wait(SIGNALS_S):
            pass
    except ConfigError as error:
        _complain(error)
        return USAGE
    except Stopping:
        return OK  # stopped before it could start
    except PoolhouseError as error:
        _complain(error)
        return FAILED
    return OK


def _complain(error: Exception) -> None:
    text = secret_values.known.mask(str(error))
    sys.__stderr__.write(f"worker: {text}\n")  # type: ignore[union-attr]  # a message for people, and no log line


def _environment() -> Settings:
    environment = settings.load()
    secret_values.known.learn(environment.topology.all_secrets, os.environ)
    logs.configure(level=environment.log_level, format=environment.log_format)
    return environment


def _handlers(environment: Settings) -> Registry:
    handlers = registry.load(environment.handlers)
    handlers.check_queues(environment.topology, declared_in=environment.pipeline_file)
    return handlers


def _scheduler(environment: Settings) -> Scheduler:
    return Scheduler(environment, registry=_handlers(environment), store=open_store(environment), now=environment.clock)


def _worker(environment: Settings, options: Any) -> Worker:
    _shield(log_format=environment.log_format)
    topology = environment.topology
    chosen = [] if options.command == "dead-letters" else options.queue or list(topology.by_name)
    unknown = [name for name in chosen if name not in topology.by_name]
    if unknown:
        raise ConfigError(f"no such queue: {', '.join(unknown)} (queues: {', '.join(topology.by_name)})")
    check_secret(topology, queues=chosen)
    handlers = _handlers(environment)
    check_set(handlers.values(), topology, queues=chosen, environment=os.environ)
    return Worker(
        environment,
        WorkerOptions(
            queues=tuple(chosen),
            dead_letters=options.command == "dead-letters" or getattr(options, "dead_letters", False),
            # A drain looks once: what comes due before the next one is fired now.
            lookahead_s=SHORT_WAIT_S if getattr(options, "drain", False) else LOOKAHEAD_S,
        ),
        registry=handlers,
        store=open_store(environment),
        now=environment.clock,
    )


def _look_after(worker: Worker, environment: Settings) -> None:
    """Let others ask whether the worker gets on, and end it where it does not, as far as the environment asks for it.

    Raises:
        ConfigError: something else listens at the port.
    """
    if environment.worker_health_port:
        from poolhouse.worker.runtime.health.endpoint import HealthEndpoint  # noqa: PLC0415 - only where it is asked for

        HealthEndpoint(worker.vitals, host=environment.worker_health_host, port=environment.worker_health_port).start()
    if environment.worker_watchdog_s:
        from poolhouse.worker.runtime.health.watchdog import Watchdog  # noqa: PLC0415 - only where it is asked for

        Watchdog(
            worker.vitals,
            after_s=environment.worker_watchdog_s,
            end=lambda stuck: worker.fail(stuck, reason="the worker is stuck"),
            last_resort_s=environment.worker_grace_s + OVERDUE_S,
        ).start()


def _shield(*, log_format: str) -> None:
    """Keep from this process what handlers on its threads may do without meaning it."""
    logs.capture_output(format=log_format)
    faulthandler.enable(file=sys.__stderr__ or 2)  # a crash in native code leaves at least its place in the log
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # a handler that asks for input gets none, and doesn't wait for it
    os.close(nothing)
    for timer in (signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF):
        signal.signal(timer, lambda number, _: None)  # signal.alarm() works on any thread, and would end the worker
    end_process, worker = os._exit, os.getpid()

    def end_thread(status: int) -> NoReturn:
        if os.getpid() == worker and threading.current_thread() is not threading.main_thread():
            raise SystemExit(status)  # it would end the tasks of all others
        end_process(status)

    os._exit = end_thread


if __name__ == "__main__":
    code = main()
    structlog.get_logger(__name__).debug("exit", code=code)
    if children.any_left():
        children.end_below(os.getpid())
    # Threads of handlers that heed nothing, and of the client library, must not keep the process.
    os._exit(code)
