"""Exit codes of the commands.

0: done. 1: failed. 2: wrong usage or settings. 130, 143: interrupted, by Ctrl-C or by SIGTERM (as CI systems do).
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

from poolhouse.commands.output import err, plain
from poolhouse.pipeline.errors import ConfigError, PoolhouseError
from poolhouse.pipeline.exit_codes import FAILED, USAGE

#: Errors of the system, not of the code: a full disk, a folder of another user, too many open files, a path through a
#: file. Not a missing file: the code that expects one says what to do about it.
_REFUSALS = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE),
    *(errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP),
}
#: A word with what Python makes of bytes on the command line that are not UTF-8 (PEP 383).
_UNDECODED = re.compile(r"[\w.-]*[\udc80-\udcff][\w.\udc80-\udcff-]*")


def exit_code(command: Callable[..., int], *arguments: Any, **options: Any) -> int:
    """Run a command; one of Poolhouse's own errors becomes a message and an exit code."""
    try:
        with _sigterm_as_ctrl_c():
            code = command(*arguments, **options)
            _flush()
            return code
    except ConfigError as error:
        err.print(f"[red]{plain(error)}[/]")
        return USAGE
    except PoolhouseError as error:
        err.print(f"[red]{plain(error)}[/]")
        return FAILED
    except UnicodeEncodeError as error:
        word = _UNDECODED.search(error.object)
        if word is None:
            raise
        shown = repr(word[0].encode(errors="surrogateescape"))[1:]
        err.print(f"[red]{plain(shown)} is not UTF-8, as all that is sent to the API has to be[/]")
        return USAGE
    except BrokenPipeError:  # whoever reads the output has enough of it
        _drop_output()
        return FAILED  # as rich does, which most of it goes through
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        about = f": {error.filename}" if error.filename else ""
        err.print(f"[red]{plain(error.strerror)}{plain(about)}[/]")
        with contextlib.suppress(OSError):
            _flush()
            return FAILED
        _drop_output()
        return FAILED
    except KeyboardInterrupt as interrupt:
        return 128 + (interrupt.args[0] if interrupt.args else signal.SIGINT)  # as shells do


def _flush() -> None:
    """Write what is left of the output: at the end of the interpreter a failure has no exit code of its own."""
    if sys.stdout is not None:  # it is closed
        sys.stdout.flush()


def _drop_output() -> None:
    """Keep the end of the interpreter from writing once more what can't be written (Python, Note on SIGPIPE)."""
    with contextlib.suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


@contextlib.contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Let SIGTERM interrupt a command cleanly, as Ctrl-C does."""

    def interrupt(number: int, _: object) -> None:
        raise KeyboardInterrupt(number)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
