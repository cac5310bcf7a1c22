"""`invoke submit TYPE key=value …`: upload, submit, follow, show or save the result."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from poolhouse.client import schema, units
from poolhouse.client.answers import Document
from poolhouse.client.calls import content_type
from poolhouse.client.client import Client
from poolhouse.client.files import CHUNK_BYTES
from poolhouse.client.schema import Payload, UnknownTaskType
from poolhouse.commands import restart
from poolhouse.commands.tasks import payload_option, task_events
from poolhouse.commands.terminal import Terminal, status
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.exit_codes import FAILED, OK


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What to submit, and what to do with the answer."""

    task_type: str
    #: `key=value` fields of the payload.
    words: tuple[str, ...] = ()
    #: The payload, which `words` then change: JSON, `@FILE`, or `-` for standard input.
    payload: str = ""
    #: A file to upload first: its path, or `field=path` where several fields of the payload name files.
    file: str = ""
    #: The queue to use instead of the task type's own.
    queue: str = ""
    #: How long it waits before it runs, such as `90s`, `1h` or `3d`.
    delay: str = ""
    #: The time, with its zone, before which it does not run; instead of `delay`.
    run_at: str = ""
    #: Wait for the end and show the result.
    wait: bool = False
    #: Wait, and show on the way what happens.
    watch: bool = False
    #: Wait, and save the result there; `-` is standard output.
    output: str = ""


def run(api: Client, submission: Submission, *, terminal: Terminal) -> int:
    """Submit a task; 1 if it was waited for and did not succeed.

    Without waiting, standard output has the task's id and nothing else; after waiting, its result.
    """
    try:
        known = schema.payload(api.get("/openapi.json"), submission.task_type)
    except UnknownTaskType as error:
        advice = restart.unknown_type(submission.task_type) if api.here else ""
        raise ConfigError(f"{error}\n{advice}".rstrip()) from None
    payload = payload_option.read_object(submission.payload) if submission.payload else {}
    payload |= schema.fields(submission.words, known)
    if submission.file:
        field, path = _upload_field(submission.file, known)
        name = payload.setdefault(field, path.name)
        _upload(api, str(name), path, terminal)
    body = {"task_type": submission.task_type, "payload": payload, **timing(submission.delay, submission.run_at)}
    answer = api.post("/tasks", {**body, **({"queue": submission.queue} if submission.queue else {})})
    task_id = answer["task_id"]
    if not (submission.wait or submission.watch or submission.output):
        terminal.line(task_id)
        terminal.say(f"{answer['status']}; ./invoke tasks {task_id} shows its status")
        return OK
    terminal.say(f"submitted {task_id}")
    try:
        end = _follow(api, task_id, watch=submission.watch, terminal=terminal)
    except KeyboardInterrupt:
        terminal.say(f"the task goes on: ./invoke tasks {task_id}")
        raise
    if end["status"] != "succeeded":
        because = f": {escape(str(end['reason']))}" if end.get("reason") else ""
        if not submission.watch:  # which has printed it
            terminal.say(f"{status(end['status'])}{because}")
        if end["status"] in {"dead", "failed"}:
            terminal.say(f"more: ./invoke tasks {task_id} · ./invoke dlq show {task_id}")
        return FAILED
    _result(api, task_id, submission.output, terminal)
    return OK


def timing(delay: str, run_at: str) -> Document:
    """The fields of a body that say when a task runs. Raises `ConfigError`."""
    if delay and run_at:
        raise ConfigError("--delay and --run-at: give one of them")
    if delay:
        return {"delay_s": units.duration(delay, option="--delay").total_seconds()}
    return {"run_at": run_at} if run_at else {}


def _upload_field(text: str, known: Payload) -> tuple[str, Path]:
    """The field of the payload that names the file, and the file."""
    fields = known.upload_fields
    field, equals, rest = text.partition("=")
    if equals and field in fields:
        path = Path(rest)
    elif len(fields) == 1:
        field, path = fields[0], Path(text)
    elif fields:
        raise ConfigError(f"which field is --file for? {' or '.join(f'--file {name}={text}' for name in fields)}")
    else:
        raise ConfigError(f"{known.task_type} takes no uploaded file: none of its fields is a FileName")
    if not path.is_file():
        raise ConfigError(f"--file: there is no file {path}")
    return field, path


def _upload(api: Client, name: str, path: Path, terminal: Terminal) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    size_bytes = path.stat().st_size
    with terminal.bars(*columns) as bars, path.open("rb") as file:
        bar = bars.add_task(escape(f"upload {path.name}"), total=size_bytes)
        api.files.upload(
            name,
            file,
            size_bytes=size_bytes,
            content_type=content_type(path.name),
            on_bytes=lambda count: bars.advance(bar, count),
        )
    terminal.say(escape(f"uploaded {path} ({units.size(size_bytes)}) as uploads/{name}"))


def _follow(api: Client, task_id: str, *, watch: bool, terminal: Terminal) -> Document:
    """Wait until a task has ended; what is known of it then."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with terminal.bars(*columns) as bars:
        bar = bars.add_task("queued", total=None)
        data: Document = {"status": "queued"}
        for event in api.events(task_id):
            data = event.data
            _advance(bars, bar, data)
            if watch:
                terminal.say(task_events.line(event))
    return data


def _advance(bars: Progress, bar: TaskID, data: Document) -> None:
    progress = data.get("progress") or {}
    note = f" · {progress['note']}" if progress.get("note") else ""
    attempt = f" (attempt {data['attempt']})" if data.get("attempt", 0) > 1 else ""
    bars.update(
        bar,
        description=escape(f"{data['status']}{attempt}{note}"),
        completed=progress.get("done") or 0,
        total=progress.get("total"),
    )


def _result(api: Client, task_id: str, output: str, terminal: Terminal) -> None:
    with api.open_result(task_id) as answer:
        if output and output != "-":
            target = Path(output)
            try:
                with target.open("wb") as file:
                    for chunk in answer.iter_bytes(CHUNK_BYTES):
                        file.write(chunk)
            except OSError as error:
                raise ConfigError(f"--output {output}: {error}. The task has succeeded: its result is kept.") from error
            terminal.say(escape(f"saved the result as {target} ({units.size(target.stat().st_size)})"))
        elif "json" in answer.headers.get("Content-Type", "") and not output:
            answer.read()
            terminal.json(answer.json(), indent=2)
        elif output or not sys.stdout.isatty():
            terminal.out.file.flush()
            for chunk in answer.iter_bytes(CHUNK_BYTES):
                sys.stdout.buffer.write(chunk)
        else:
            kind = answer.headers.get("Content-Type", "a file")
            size = units.size(int(answer.headers.get("Content-Length") or 0))
            terminal.say(f"the result is a file ({escape(kind)}, {size}): curl -O {api.url}/tasks/{task_id}/result")
