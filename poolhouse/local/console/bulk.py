"""Bulk calls of the API for one click: page after page, for as long as a person waits for an answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import islice

from poolhouse.client.answers import Document
from poolhouse.client.calls import segment
from poolhouse.client.client import Client

#: Seconds after which a click is answered; the next one goes on.
_PATIENCE_S = 20.0
_PAGE = 200
#: Names of files that a note shows.
_EXAMPLES = 3


def cancel(api: Client, path: str, chosen: Document) -> str:
    """Cancel what matches; returns what came of it."""
    pages = list(_pages(_of_chosen(api, path, chosen)))
    cancelled, notified = (sum(page[name] for page in pages) for name in ("cancelled", "notified"))
    said = [f"Cancelled {cancelled} with a record."]
    if notified:
        said.append(f"{notified} that run were notified.")
    if pages[-1]["waiting"]:
        said.append("Waiting ones without a record are cancelled when a worker meets them.")
    return " ".join([*said, *_more(pages)])


def dead_letters(api: Client, verb: str, chosen: Document) -> str:
    """Replay or discard what matches; returns what came of it."""
    pages = list(_pages(_of_chosen(api, f"/dead-letters:{verb}", chosen)))
    done, skipped = (sum(page[name] for page in pages) for name in ("done", "skipped"))
    said = [f"{'Replayed' if verb == 'replay' else 'Discarded'} {done}."]
    if skipped:
        said.append(f"{skipped} were dealt with elsewhere, or their key is taken.")
    return " ".join([*said, *_more(pages)])


def backfill(api: Client, name: str, *, dry_run: bool) -> str:
    """Start a trigger's task for each file that is there, or count these files; returns what came of it."""
    path = f"/triggers/{segment(name)}:backfill?dry_run={str(dry_run).lower()}"
    pages = list(_pages(lambda token: api.post(f"{path}&page_token={segment(token)}" if token else path)))
    files = sum(page["files"] for page in pages)
    examples = list(islice((example for page in pages for example in page["examples"]), _EXAMPLES))
    shown = f" ({', '.join(examples)}{', …' if files > len(examples) else ''})" if examples else ""
    if pages[-1]["next_page_token"]:
        return (
            f"{files} files so far{shown}; there are more: ./invoke trigger backfill {name} goes through all of them."
        )
    if dry_run:
        return f"{files} files{shown}: none has started anything now."
    return f"{files} files{shown}: each version has started its task now, or had before."


def _of_chosen(api: Client, path: str, chosen: Document) -> Callable[[str | None], Document]:
    return lambda token: api.post(path, {**chosen, "page_size": _PAGE, "page_token": token})


def _pages(ask: Callable[[str | None], Document]) -> Iterator[Document]:
    """The answers, of which each names the next, until a person has waited for long enough."""
    token: str | None = None
    end_s = time.monotonic() + _PATIENCE_S
    while True:
        page = ask(token)
        yield page
        token = page["next_page_token"]
        if not token or time.monotonic() >= end_s:
            return


def _more(pages: list[Document]) -> list[str]:
    return ["There are more: click again to go on."] if pages[-1]["next_page_token"] is not None else []
