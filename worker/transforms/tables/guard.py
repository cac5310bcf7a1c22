"""The border of the libraries that read given files: what they raise on one is a final refusal.

polars, Pillow, pypdf, zstandard and the standard library's readers raise errors of many kinds for broken files, and
Rust code panics. None of them is worth another attempt: the file stays what it is. Errors of disk and storage are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import polars as pl

from poolhouse.pipeline.errors import PoolhouseError
from poolhouse.worker.errors import Reject
from worker.transforms.tables.table import TypesChanged

_PATH = re.compile(r"""['"(]*(?:/[^\s'"()/:]+){2,}['")]*""")
#: Words of a library's inside, which mean nothing to the person who gave the file.
_JARGON = re.compile(
    r"dtype|schema|unwrap|struct\[|series|object at 0x|context stack|<class|NoneType|expression|codec can't|Errno|"
    r"pypdf|polars|pillow|PIL\b|deprecated|universal-newline|subscriptable|unpack|__|argument|attribute|"
    r"unsupported operand|list index|key error",
    re.IGNORECASE,
)


@contextmanager
def guarded(what: str) -> Iterator[None]:
    """Turn what a library raises on a given file into `Reject`.

    Args:
        what: the start of the reason, such as `the image is broken`; what the library says follows where it helps.

    Raises:
        Reject: for errors of whatever kind; those of Poolhouse, and those of the disk, pass as they are.
    """
    try:
        yield
    except (PoolhouseError, TypesChanged, GeneratorExit):
        raise
    except MemoryError as error:
        raise Reject(f"{what}: it takes more memory than the worker has") from error
    except RecursionError as error:
        raise Reject(f"{what}: it is nested too deeply") from error
    except OSError as error:
        if error.errno is not None or "os error" in str(error):
            raise
        raise Reject(with_detail(what, error)) from error
    except (Exception, pl.exceptions.PanicException) as error:
        raise Reject(with_detail(what, error)) from error


def with_detail(what: str, error: BaseException) -> str:
    """`what`, and the first line of what a library says, unless that names its insides or a scratch file."""
    line = str(error).strip().partition("\n")[0].strip()
    if isinstance(error, pl.exceptions.PanicException | LookupError | TypeError | AttributeError | AssertionError):
        line = ""
    if not line or len(line) > 300 or _JARGON.search(line) or _PATH.search(line):
        return what
    return f"{what}: {line}"
