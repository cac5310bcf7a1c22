"""HTML pages: what is one, its encoding, and the text that a reader of it sees."""

from __future__ import annotations

import codecs
import re
from html.parser import HTMLParser
from pathlib import Path

from poolhouse.worker.errors import Reject
from worker.transforms.files.text import Pause, pieces
from worker.transforms.tables.guard import guarded

#: Bytes that a page's first tags and its encoding are looked for in.
HTML_HEAD_BYTES = 4096
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
    "address", "article", "aside", "blockquote", "br", "caption", "dd", "details", "dialog", "div", "dl", "dt",
    "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hgroup", "hr",
    "legend", "li", "listing", "main", "menu", "nav", "ol", "optgroup", "option", "p", "pre", "section", "summary",
    "table", "td", "th", "title", "tr", "ul", "xmp",
})
# fmt: on
#: What shows its white space as it stands.
_AS_WRITTEN = frozenset({"listing", "pre", "textarea", "xmp"})
_HIDDEN = frozenset({"script", "style", "template", "noscript"})

_START = re.compile(
    rb"\s*(?:<\?xml[^>]*\?>\s*|<!--.*?(?:-->|\Z)\s*)*<(?:!doctype\s+html|html)\b", re.IGNORECASE | re.DOTALL
)
#: Tags that a fragment of a page begins with, and no other kind of XML does.
_FRAGMENT = re.compile(
    rb"\s*(?:<!--.*?-->\s*)*<(?:head|body|title|meta|div|span|table|p|ul|ol|h[1-6]|article|section|br|form|a|img)[\s/>]",
    re.IGNORECASE | re.DOTALL,
)
_TAG = re.compile(rb"<[a-z!?/{%]", re.IGNORECASE)
_META = re.compile(rb"<meta\b[^>]*?\bcharset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
_XML = re.compile(rb"\s*<\?xml\b[^>]*?\bencoding\s*=\s*[\"']([\w.:-]+)", re.IGNORECASE)
#: What browsers read under a name: Encoding Standard, 4.2.
_LABELS = {
    **dict.fromkeys(("iso-8859-1", "latin1", "latin-1", "l1", "ascii", "us-ascii", "x-cp1252"), "cp1252"),
    **dict.fromkeys(("shift_jis", "shift-jis", "sjis", "x-sjis", "ms_kanji", "windows-31j"), "cp932"),
    **dict.fromkeys(("euc-kr", "ks_c_5601-1987", "korean", "ksc5601"), "cp949"),
    **dict.fromkeys(("gb2312", "gbk", "x-gbk", "chinese"), "gb18030"),
    **dict.fromkeys(("iso-8859-9", "latin5"), "cp1254"),
    **dict.fromkeys(("tis-620", "iso-8859-11"), "cp874"),
    **dict.fromkeys(("x-euc-jp",), "euc_jp"),
    **dict.fromkeys(("x-mac-roman", "macintosh"), "mac_roman"),
    **dict.fromkeys(("x-mac-cyrillic",), "mac_cyrillic"),
    **dict.fromkeys(("big5", "big5-hkscs", "x-x-big5"), "big5hkscs"),
}


def is_page(start: bytes, name: str) -> bool:
    """Whether a text is HTML: by its first tag, or by its name where a tag is in it at all."""
    if _START.match(start):
        return True
    ending = name.lower().rpartition(".")[2] if "." in name.rpartition("/")[2] else ""
    if ending in {"html", "htm", "xhtml"}:
        return bool(_TAG.search(start))
    return not ending and bool(_FRAGMENT.match(start))


def declared_encoding(start: bytes) -> str:
    """The codec for the encoding that a page declares; `unknown-8bit` where it declares none that is known."""
    found = _META.search(start) or _XML.match(start)
    label = found[1].decode().lower() if found else ""
    try:
        codec = codecs.lookup(_LABELS.get(label, label)).name
        b"a".decode(codec)  # base64 and the like are codecs, of no texts
    except (LookupError, ValueError):
        return "unknown-8bit"
    # Pages that are not UTF-8, whatever they say, are in none of its relatives.
    return "unknown-8bit" if codec.startswith("utf") else codec


def text_of(path: Path, encoding: str, pause: Pause) -> str:
    """The visible text of an HTML page, one line a block; what is preformatted line by line, without empty ones.

    Raises:
        Reject: the page is too large, or ends inside a long tag or comment.
    """
    size_bytes = path.stat().st_size
    if size_bytes > MAX_HTML_BYTES:
        raise Reject(f"the HTML page has {size_bytes} bytes, more than the {MAX_HTML_BYTES} that are read")
    if encoding == "unknown-8bit":
        raise Reject("the HTML page is neither in UTF-8 nor says in which encoding it is: <meta charset> is missing")
    with guarded("the HTML page is broken"):
        try:
            parser = _parsed(path, encoding, pause)
        except UnicodeError:
            raise Reject(f"the HTML page is not in {encoding}, as it should be") from None
    return "\n".join(parser.lines) + "\n"


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
    parser.end_line()
    return parser


class _Visible(HTMLParser):
    """Gathers what a reader of the page sees."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.lines: list[str] = []
        self._line: list[str] = []
        #: Whether the white space of the line belongs to it.
        self._as_written = False
        self._hidden = self._preformatted = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in _HIDDEN
        self._preformatted += tag in _AS_WRITTEN
        if tag in _BLOCKS:
            self.end_line()

    def handle_endtag(self, tag: str) -> None:
        self._hidden = max(0, self._hidden - (tag in _HIDDEN))
        self._preformatted = max(0, self._preformatted - (tag in _AS_WRITTEN))
        if tag in _BLOCKS:
            self.end_line()

    def handle_data(self, data: str) -> None:
        if self._hidden:
            return
        if not self._preformatted:
            # Line breaks of the source are white space; those of blocks come from their tags.
            self._line.append(data.replace("\n", " "))
            return
        first, *others = data.replace("\r", "\n").split("\n")
        self._add_as_written(first)
        for text in others:
            self.end_line()
            self._add_as_written(text)

    def end_line(self) -> None:
        """Take what was gathered as a line, unless nothing is in it."""
        text = "".join(self._line)
        text = text.rstrip() if self._as_written else " ".join(text.split())
        if text:
            self.lines.append(text)
        self._line, self._as_written = [], False

    def _add_as_written(self, text: str) -> None:
        self._line.append(text)
        self._as_written = True
