"""PDF documents: pages, title, text."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pypdf
from pypdf.errors import PyPdfError

from poolhouse.worker.errors import Reject
from worker.transforms.files.report import PdfReport

#: The largest document that is read, in bytes: pypdf holds what it has read of one in memory.
MAX_PDF_BYTES = 128 * 1024 * 1024
MAX_PAGES = 10_000
MAX_TITLE = 500
#: What pypdf raises for broken documents.
_BROKEN = (
    *(PyPdfError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError),
    *(RecursionError, NotImplementedError, zlib.error, struct.error),
)


def inspect(path: Path) -> PdfReport:
    """Pages and title. Raises `Reject` where the document is broken or too large."""
    with _opened(path) as reader:
        if reader.is_encrypted:
            return PdfReport(pages=None, title=None, encrypted=True)
        title = reader.metadata.title if reader.metadata else None
        return PdfReport(pages=len(reader.pages), title=str(title)[:MAX_TITLE] if title else None, encrypted=False)


def extract_text(path: Path, target: Path, pause: Callable[[int, int], None]) -> None:
    """Write the text of all pages, divided by form feeds.

    Args:
        pause: called before each page with its index and how many there are.

    Raises:
        Reject: the document is broken, encrypted or too large.
    """
    with _opened(path) as reader, target.open("w", encoding="utf-8") as output:
        if reader.is_encrypted:
            raise Reject("the PDF is encrypted: its text can't be read")
        pages = len(reader.pages)
        if pages > MAX_PAGES:
            raise Reject(f"the PDF has {pages} pages, more than {MAX_PAGES}")
        for index in range(pages):
            pause(index, pages)
            if index:
                output.write("\f")
            output.write(_without_surrogates(reader.pages[index].extract_text()))
            output.write("\n")


@contextmanager
def _opened(path: Path) -> Iterator[pypdf.PdfReader]:
    size_bytes = path.stat().st_size
    if size_bytes > MAX_PDF_BYTES:
        raise Reject(f"the PDF has {size_bytes} bytes, more than the {MAX_PDF_BYTES} that are read")
    try:
        with pypdf.PdfReader(path) as reader:
            yield reader
    except _BROKEN as error:
        raise Reject(f"the PDF is broken: {error}") from error


def _without_surrogates(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
