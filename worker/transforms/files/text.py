"""Lines and words of texts of any size, and text out of HTML."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

from poolhouse.worker.errors import Reject
from worker.transforms.files.report import TextReport

#: Bytes decoded at a time.
PIECE_BYTES = 1024 * 1024
#: HTML beyond this is no page; its parser is slow, and needs several times as much memory.
MAX_HTML_BYTES = 16 * 1024 * 1024
#: Bytes of HTML parsed at a time: a hundred thousand tags take some tenths of a second.
HTML_PIECE_BYTES = 256 * 1024
#: Characters of one tag or comment: the parser begins it anew with each piece. Images inside of attributes have less.
MAX_HTML_TAG = 8 * 1024 * 1024
#: Characters of a tag or comment that the end of the page cuts off. The parser looks for the end of each "<" in them:
#: with megabytes it would never come back (https://github.com/python/cpython/issues/135462).
MAX_HTML_TAIL = 64 * 1024
# fmt: off
_BLOCKS = frozenset({
    "address", "article", "aside", "blockquote", "br", "dd", "div", "dl", "dt", "fieldset", "figcaption", "figure",
    "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre",
    "section", "table", "td", "th", "title", "tr", "ul",
})
# fmt: on
_HIDDEN = frozenset({"script", "style", "template", "noscript"})

Pause = Callable[[int], None]


def pieces(path: Path, encoding: str, pause: Pause, *, piece_bytes: int = PIECE_BYTES) -> Iterator[str]:
    """The text, piece by piece.

    Args:
        encoding: as `worker.transforms.files.media` names it; each byte of `unknown-8bit` counts as one character.
        pause: called before each piece with the bytes read so far.
        piece_bytes: bytes read at a time.

    Raises:
        UnicodeDecodeError: the text is not in this encoding.
    """
    name = {"unknown-8bit": "latin-1", "utf-8": "utf-8-sig"}.get(encoding, encoding)
    decoder = codecs.getincrementaldecoder(name)()
    done = 0
    with path.open("rb") as source:
        while data := source.read(piece_bytes):
            done += len(data)
            pause(done)
            yield decoder.decode(data)
    yield decoder.decode(b"", final=True)


def count(path: Path, encoding: str, pause: Pause) -> tuple[TextReport, str]:
    """Lines and words of a text, and its encoding: `unknown-8bit` where the one expected does not hold."""
    try:
        return _count(pieces(path, encoding, pause)), encoding
    except UnicodeDecodeError:
        return _count(pieces(path, "unknown-8bit", pause)), "unknown-8bit"


def rewrite(path: Path, encoding: str, target: Path, pause: Pause) -> None:
    """Write the text as UTF-8.

    Raises:
        Reject: it is neither UTF-8 nor UTF-16: which of the many 8-bit encodings it is in can't be known.
    """
    if encoding == "unknown-8bit":
        raise Reject("the text is in an unknown encoding, neither UTF-8 nor UTF-16: convert it before you upload it")
    try:
        with target.open("w", encoding="utf-8", newline="") as output:
            output.writelines(pieces(path, encoding, pause))
    except UnicodeError as error:
        raise Reject(f"the text is no valid {encoding}: {error}") from None


def _count(texts: Iterator[str]) -> TextReport:
    lines = words = longest = open_line = 0
    in_word = False
    for text in texts:
        if not text:
            continue
        words += len(text.split()) - (in_word and not text[0].isspace())
        in_word = not text[-1].isspace()
        parts = text.split("\n")
        lines += len(parts) - 1
        parts[0] = parts[0].removesuffix("\r")
        longest = max(longest, open_line + len(parts[0]), *(len(part.removesuffix("\r")) for part in parts[1:]))
        open_line = len(parts[-1]) if len(parts) > 1 else open_line + len(parts[0])
    return TextReport(lines=lines + bool(open_line), words=words, longest_line=longest)


def html_text(path: Path, encoding: str, pause: Pause) -> str:
    """The visible text of an HTML page, one line a block.

    Raises:
        Reject: the page is too large, or ends inside a long tag or comment.
    """
    size_bytes = path.stat().st_size
    if size_bytes > MAX_HTML_BYTES:
        raise Reject(f"the HTML page has {size_bytes} bytes, more than the {MAX_HTML_BYTES} that are read")
    try:
        parser = _parsed(path, encoding, pause)
    except UnicodeDecodeError:
        parser = _parsed(path, "unknown-8bit", pause)
    lines = (" ".join(line.split()) for line in "".join(parser.parts).split("\n"))
    return "\n".join(line for line in lines if line) + "\n"


def _parsed(path: Path, encoding: str, pause: Pause) -> _Visible:
    parser = _Visible()
    for text in pieces(path, encoding, pause, piece_bytes=HTML_PIECE_BYTES):
        parser.feed(text)
        if len(parser.rawdata) > MAX_HTML_TAG:
            raise Reject(f"the HTML page has a tag, comment or entity of more than {MAX_HTML_TAG} characters")
    if len(parser.rawdata) > MAX_HTML_TAIL:
        raise Reject(
            f"the HTML page ends inside a tag, comment or entity that began {len(parser.rawdata)} characters before"
        )
    parser.close()
    return parser


class _Visible(HTMLParser):
    """Gathers what a reader of the page sees."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in _HIDDEN
        if tag in _BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._hidden = max(0, self._hidden - (tag in _HIDDEN))
        if tag in _BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            # Line breaks of the source are white space; those of blocks come from their tags.
            self.parts.append(data.replace("\n", " "))
