"""PDF documents: pages, title, text."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pypdf
from pypdf.errors import DependencyError, PyPdfError
from pypdf.generic import IndirectObject, NullObject, PdfObject, read_object

from poolhouse.worker.errors import Reject
from worker.transforms.files.report import PdfReport
from worker.transforms.tables.guard import guarded

#: The largest document that is read, in bytes: pypdf holds what it has read of one in memory.
MAX_PDF_BYTES = 128 * 1024 * 1024
MAX_PAGES = 10_000
MAX_TITLE = 500
#: Values of form fields that are written after a page's text.
MAX_FIELDS = 10_000
#: Operators of a page, and objects of a document, between two checkpoints.
STEPS = 500

#: Called with the page in work and how many there are.
Pause = Callable[[int, int], None]


def inspect(path: Path, checkpoint: Callable[[], None]) -> PdfReport:
    """Pages and title. Raises `Reject` where the document is broken or too large."""
    with _opened(path, checkpoint) as reader:
        if reader.is_encrypted and not _is_open(reader):
            return PdfReport(pages=None, title=None, encrypted=True)
        title = reader.metadata.title if reader.metadata else None
        return PdfReport(
            pages=len(reader.pages), title=str(title)[:MAX_TITLE] if title else None, encrypted=reader.is_encrypted
        )


def extract_text(path: Path, target: Path, pause: Pause) -> None:
    """Write the text of all pages, divided by form feeds; what is filled into a page's form comes after its text.

    Args:
        pause: called before each page with its index and how many there are, and in between.

    Raises:
        Reject: the document is broken, takes a password to open, or is too large.
    """
    at, pages = 0, 1
    with _opened(path, lambda: pause(at, pages)) as reader, target.open("w", encoding="utf-8") as output:
        if reader.is_encrypted and not _is_open(reader):
            raise Reject("the PDF is encrypted: its text can't be read without the password")
        pages = len(reader.pages)
        if pages > MAX_PAGES:
            raise Reject(f"the PDF has {pages} pages, more than {MAX_PAGES}")
        for at in range(pages):
            pause(at, pages)
            if at:
                output.write("\f")
            page = reader.pages[at]
            with guarded(f"page {at + 1} of the PDF is broken"):
                text = page.extract_text(visitor_operand_before=reader.step)
            output.write(_without_surrogates(text))
            output.write("\n")
            for value in _field_values(page, text):
                output.write(_without_surrogates(value) + "\n")


class _Reader(pypdf.PdfReader):  # type: ignore[misc]
    """A reader that takes single objects out of object streams, and pauses while it works.

    pypdf's own parses all objects of a stream at the first need for one, and keeps them: drawings have a hundred
    thousand, which takes half a gigabyte and half a minute.
    """

    def __init__(self, path: Path, checkpoint: Callable[[], None]) -> None:
        self._checkpoint = checkpoint
        self._steps = 0
        #: By the number of an object stream: its content, and where in it each object starts.
        self._contents: dict[int, tuple[bytes, dict[int, int]]] = {}
        self._in_work: set[int] = set()
        super().__init__(path)

    def step(self, *_: object) -> None:
        """Count a step of work; now and then, the task may be told to end."""
        self._steps += 1
        if self._steps % STEPS == 0:
            self._checkpoint()

    def _get_object_from_stream(self, indirect_reference: IndirectObject) -> PdfObject:
        self.step()
        stream, _ = self.xref_objStm[indirect_reference.idnum]
        if stream not in self._contents:
            self._contents[stream] = self._content(stream)
        content, places = self._contents[stream]
        start = places.get(indirect_reference.idnum)
        if start is None or start >= len(content):
            return NullObject()
        # An object of a stream has no "endobj": pypdf reads on to the next token, which another object may begin.
        data = BytesIO(content)
        data.seek(start)
        found: Any = read_object(data, self)
        self.cache_indirect_object(0, indirect_reference.idnum, found)
        return NullObject() if found is None else found

    def _content(self, stream: int) -> tuple[bytes, dict[int, int]]:
        """ISO 32000-1, 7.5.7: pairs of an object's number and its place behind `First`, then the objects."""
        if stream in self._in_work:
            raise Reject("the PDF is broken: an object stream holds itself")
        self._in_work.add(stream)
        try:
            holder: Any = IndirectObject(stream, 0, self).get_object()
            content, first = holder.get_data(), int(holder["/First"])
        finally:
            self._in_work.discard(stream)
        numbers = [int(number) for number in _NUMBER.findall(content[:first])]
        return content, {number: first + offset for number, offset in zip(numbers[::2], numbers[1::2], strict=False)}


_NUMBER = re.compile(rb"\d{1,10}")


def _is_open(reader: pypdf.PdfReader) -> bool:
    """Whether the document opens without a password: an owner's alone forbids to print or change, not to read."""
    try:
        return bool(reader.decrypt(""))
    except (DependencyError, NotImplementedError, PyPdfError) as error:
        raise Reject("the PDF is encrypted in a way that can't be read") from error


def _field_values(page: pypdf.PageObject, text: str) -> Iterator[str]:
    """What is filled into the page's form: fields of text and choice, where the page's text does not show it."""
    try:
        annotations: Any = page.get("/Annots") or []
        for reference in list(annotations.get_object() if hasattr(annotations, "get_object") else annotations)[
            :MAX_FIELDS
        ]:
            field: Any = reference.get_object()
            if field.get("/Subtype") != "/Widget":
                continue
            parent = field.get("/Parent")
            parent = parent.get_object() if parent is not None else {}
            value = field.get("/V", parent.get("/V"))
            value = value.get_object() if hasattr(value, "get_object") else value
            if isinstance(value, str) and not value.startswith("/") and value.strip() and value not in text:
                yield value.replace("\r\n", "\n").replace("\r", "\n")
    except (PyPdfError, AttributeError, TypeError, ValueError, LookupError):
        return  # a broken form leaves the text as it is


@contextmanager
def _opened(path: Path, checkpoint: Callable[[], None]) -> Iterator[_Reader]:
    size_bytes = path.stat().st_size
    if size_bytes > MAX_PDF_BYTES:
        raise Reject(f"the PDF has {size_bytes} bytes, more than the {MAX_PDF_BYTES} that are read")
    # pypdf warns of every oddity that it copes with, thousands in one document.
    logging.getLogger("pypdf").setLevel(logging.ERROR)
    with guarded("the PDF is broken"), _Reader(path, checkpoint) as reader:
        yield reader


def _without_surrogates(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
