"""Text of strangers, as a terminal may have it."""

from __future__ import annotations

import re

#: Characters that command a terminal or turn its text around, and what no encoding has: C0 but for tab and line feed,
#: DEL, C1 (ECMA-48), bidirectional controls (Unicode, UAX #9), surrogates.
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """Return the text with an escape in the place of each character that would command the terminal."""
    return CONTROLS.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
