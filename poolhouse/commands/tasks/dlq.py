"""`invoke dlq list|show|replay|discard`: what failed for good, looked at, tried again, given up."""

from __future__ import annotations

import base64
import json
import os
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

from poolhouse.client import schema, units
from poolhouse.client.answers import Document
from poolhouse.client.calls import segment
from poolhouse.client.client import Client
from poolhouse.client.errors import ApiError
from poolhouse.client.letter import own_payload
from poolhouse.client.units import Pace
from poolhouse.commands.tasks import attempts, payload_option
from poolhouse.commands.terminal import Terminal, now
from poolhouse.pipeline import text_files
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.exit_codes import FAILED, OK

#: Statuses of answers on a dead letter that another call has dealt with meanwhile.
_GONE = frozenset({404, 409})
#: Dead letters that a dry run shows.
_SAMPLES = 10


@dataclass(frozen=True, kw_only=True)
class Edit:
    """What to change in the payloads of replayed tasks."""

    #: Fields to set, as `key=value` words; the others stay.
    words: tuple[str, ...] = ()
    #: A whole payload instead: JSON, `@FILE`, or `-` for standard input.
    payload: str = ""
    #: Open the payload in an editor.
    editor: bool = False

    @property
    def empty(self) -> bool:
        """Whether payloads stay as they are."""
        return self == Edit()


def show_list(api: Client, chosen: Document, *, limit: int, as_json: bool, terminal: Terminal) -> int:
    """List dead letters: a table, or a JSON object a line."""
    letters: list[Document] = []
    more = False
    for letter in _matching(api, chosen):
        if len(letters) == limit:
            more = True
            break
        letters.append(letter)
        if as_json:
            terminal.json(letter)
    if as_json:
        return OK
    if not letters:
        terminal.say("no matching dead letters" if chosen else "no dead letters")
        return OK
    _table(letters, terminal)
    if more:
        terminal.say(f"the first {limit}; --limit shows more")
    return OK


def show(api: Client, ids: Sequence[str], *, as_json: bool, terminal: Terminal) -> int:
    """Show dead letters whole: reason, attempts, the original message."""
    if not ids:
        raise ConfigError("which one? ./invoke dlq show ID (./invoke dlq list shows the ids)")
    for task_id in ids:
        letter = _get(api, task_id)
        if as_json:
            terminal.json(letter)
        else:
            _print(letter, terminal)
    return OK


def replay(
    api: Client,
    ids: Sequence[str],
    chosen: Document,
    *,
    everything: bool,
    edit: Edit,
    rate: float | None,
    terminal: Terminal,
) -> int:
    """Give tasks a new life; 1 if one of them could not be replayed.

    Args:
        api: the pipeline's.
        ids: the tasks; none: those that `chosen` means.
        chosen: which ones.
        everything: all of them, where nothing else says which.
        edit: changes of the payloads.
        rate: the most to replay in a second.
        terminal: where to write.
    """
    if edit.editor and len(ids) != 1:
        raise ConfigError("--edit opens the payload of one task: name its id")
    meant = _meant(api, ids, chosen, everything=everything, verb="replay")
    payload_of = _payloads(api, edit)

    def one(task_id: str) -> None:
        payload = payload_of(task_id)
        api.post(f"/dead-letters/{segment(task_id)}:replay", {} if payload is None else {"payload": payload})

    return _each(meant, one, done="replayed", pace=Pace(rate), terminal=terminal)


def discard(
    api: Client,
    ids: Sequence[str],
    chosen: Document,
    *,
    everything: bool,
    yes: bool,
    rate: float | None,
    terminal: Terminal,
) -> int:
    """Discard dead letters; ask first, unless `yes`. 1 if one could not be discarded, or the question was denied."""
    meant = _meant(api, ids, chosen, everything=everything, verb="discard")
    if meant and not terminal.confirm(f"Discard {_count(len(meant))}? That can't be undone.", yes=yes):
        terminal.say("nothing was discarded")
        return FAILED

    def one(task_id: str) -> None:
        api.post(f"/dead-letters/{segment(task_id)}:discard")

    return _each(meant, one, done="discarded", pace=Pace(rate), terminal=terminal)


def dry_run(
    api: Client, ids: Sequence[str], chosen: Document, *, everything: bool, verb: str, terminal: Terminal
) -> int:
    """Show how many dead letters a replay or discard would take, and the first of them."""
    letters = _meant(api, ids, chosen, everything=everything, verb=verb)
    if ids:
        letters = [_get(api, letter["task_id"]) for letter in letters]
    _table(letters[:_SAMPLES], terminal)
    terminal.say(f"would {verb} {_count(len(letters))}; nothing was changed: this was a dry run")
    return OK


def _matching(api: Client, chosen: Document) -> Iterator[Document]:
    return api.pages("/dead-letters", "dead_letters", page_size="1000", **chosen)


def _meant(api: Client, ids: Sequence[str], chosen: Document, *, everything: bool, verb: str) -> list[Document]:
    """The dead letters that are meant; of ids no more than those."""
    if ids and (chosen or everything):
        raise ConfigError("either ids, or filters and --all: not both")
    if ids:
        return [{"task_id": task_id} for task_id in dict.fromkeys(ids)]
    if not chosen and not everything:
        raise ConfigError(
            f"which ones? ./invoke dlq {verb} ID …, or filters (--type, --reason, --queue, --older, --newer), or --all"
        )
    # All of them first, for the question and the progress.
    return list(_matching(api, chosen))


def _each(
    letters: Sequence[Document], call: Callable[[str], None], *, done: str, pace: Pace, terminal: Terminal
) -> int:
    if not letters:
        terminal.say("no matching dead letters")
        return OK
    ids = [letter["task_id"] for letter in letters]
    succeeded, gone, errors = 0, 0, dict[str, str]()
    with terminal.bars(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()) as bars:
        for task_id in bars.track(ids, description=done):
            pace.wait()
            try:
                call(task_id)
            except ApiError as error:
                if error.status in _GONE and len(ids) > 1:
                    gone += 1
                    continue
                errors[task_id] = str(error)
                if error.status == 0:
                    break  # the API no longer answers: the rest would wait as long each
            else:
                succeeded += 1
    for task_id, text in errors.items():
        terminal.say(f"[red]{escape(task_id)}[/]: {escape(text)}")
    left = len(ids) - succeeded - gone - len(errors)
    rest = [
        f"{count} {words}"
        for count, words in ((gone, "dealt with elsewhere meanwhile"), (len(errors), "failed"), (left, "not tried"))
        if count
    ]
    terminal.say("; ".join([f"{done} {_count(succeeded)}", *rest]))
    return FAILED if errors else OK


def _payloads(api: Client, edit: Edit) -> Callable[[str], Any]:
    """Gives the payload to replay a task with; None: its own."""
    if edit.empty:
        return lambda task_id: None
    if sum((bool(edit.words), bool(edit.payload), edit.editor)) > 1:
        raise ConfigError("one of key=value, --payload and --edit: not several")
    if edit.payload:
        whole = payload_option.read(edit.payload)
        return lambda task_id: whole
    openapi = api.get("/openapi.json") if edit.words else {}

    def edited(task_id: str) -> Any:
        letter = _get(api, task_id)
        own = own_payload(letter)
        if edit.editor:
            return schema.written(_in_editor(json.dumps(own, indent=2, ensure_ascii=False)), what="the edited payload")
        return {**own, **schema.fields(edit.words, schema.payload(openapi, letter["task_type"]))}

    return edited


def _table(letters: Sequence[Document], terminal: Terminal) -> None:
    if not letters:
        return
    moment = now()
    terminal.table(
        ("task", "type", "queue", "died", "reason"),
        (
            (
                escape(letter["task_id"]),
                escape(letter["task_type"]),
                letter["queue"],
                _ago(letter, moment),
                escape(_short(letter)),
            )
            for letter in letters
        ),
    )


def _get(api: Client, task_id: str) -> Document:
    letter: Document = api.get(f"/dead-letters/{segment(task_id)}")
    return letter


def _in_editor(text: str) -> str:
    named = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        editor = shlex.split(named) or ["vi"]
    except ValueError as error:
        raise ConfigError(f"the editor {named!r} is no command ({error}): set EDITOR") from None
    with tempfile.TemporaryDirectory(prefix="poolhouse-") as folder:
        file = Path(folder) / "payload.json"
        file.write_text(text + "\n", encoding="utf-8")
        try:
            code = subprocess.run([*editor, str(file)], check=False).returncode
        except OSError as error:
            raise ConfigError(f"the editor {editor[0]!r} can't be started ({error}): set EDITOR") from None
        if code:
            raise ConfigError(f"the editor ended with {code}: nothing was replayed")
        return text_files.read(file)


def _print(letter: Document, terminal: Terminal) -> None:
    moment = now()
    terminal.out.print(f"[bold]{escape(letter['task_id'])}[/]  {escape(letter['task_type'] or '(no type)')}")
    terminal.line(f"  queue      {letter['queue']}")
    terminal.line(f"  died       {letter['died_at']} ({_ago(letter, moment)} ago)")
    terminal.line(f"  reason     {letter['reason']}")
    terminal.line(f"  message    {letter['message_id']}, published {letter['published_at']}")
    attempts.show(letter.get("attempts", ()), terminal)
    if "data" in letter and letter["data"] is not None:
        try:
            terminal.line(json.dumps(json.loads(letter["data"]), indent=2, ensure_ascii=False))
        except (ValueError, RecursionError):
            terminal.line(letter["data"])
    else:
        raw = base64.b64decode(letter.get("data_base64") or "")
        terminal.line(f"  {len(raw)} bytes that are no text: {raw[:60]!r}{'…' if len(raw) > 60 else ''}")
    terminal.say(f"next: ./invoke dlq replay {letter['task_id']} · ./invoke dlq discard {letter['task_id']}")


def _ago(letter: Document, moment: datetime) -> str:
    died_at = units.moment(letter["died_at"])
    return "?" if died_at is None else units.age(died_at, now=moment)


def _short(letter: Document) -> str:
    first = str(letter["reason"]).partition("\n")[0]
    return first if len(first) <= 100 else first[:99] + "…"


def _count(number: int) -> str:
    return f"{number} dead letter" if number == 1 else f"{number} dead letters"
