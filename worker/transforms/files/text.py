"""Lines and words of texts of any size."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from pathlib import Path

from poolhouse.worker.errors import Reject
from worker.transforms.files.report import TextReport

#: Bytes decoded at a time.
PIECE_BYTES = 1024 * 1024
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
