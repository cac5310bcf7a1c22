"""HTML that escapes whatever it is given, unless that is HTML already."""

from __future__ import annotations

import html as _html
from collections.abc import Iterable
from typing import Any


class Html(str):
    """Text that is HTML, and goes into HTML as it is."""

    __slots__ = ()


def html(template: str, /, **values: Any) -> Html:
    """Fill in a template.

    Args:
        template: HTML with `{names}`; attributes are written with double quotes.
        **values: What goes in. `Html` stays as it is, lists and generators are joined, None is nothing, and everything
            else is escaped.
    """
    return Html(template.format_map({name: _inner(value) for name, value in values.items()}))


def join(parts: Iterable[Any]) -> Html:
    """Concatenate parts, escaped as `html` does."""
    return Html("".join(map(_inner, parts)))


def table(heads: Iterable[str], rows: Iterable[Html], *, empty: str) -> Html:
    """Return a table, or a line that says why there is none.

    Args:
        heads: Column titles; one that starts with `#` is of numbers.
        rows: Its `<tr>` elements.
        empty: What to say without rows.
    """
    body = join(rows)
    if not body:
        return html('<p class="empty">{text}</p>', text=empty)
    cells = (
        html('<th scope="col" class="n">{text}</th>', text=head[1:])
        if head.startswith("#")
        else html('<th scope="col">{text}</th>', text=head)
        for head in heads
    )
    return html(
        '<div class="scroll"><table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>',
        cells=cells,
        body=body,
    )


def options(values: Iterable[tuple[str, str]], *, chosen: str = "") -> Html:
    """Return the `<option>` elements of a list: value and text of each."""
    return join(
        html(
            '<option value="{value}"{selected}>{text}</option>',
            value=value,
            text=text,
            selected=Html(" selected") if value == chosen else None,
        )
        for value, text in values
    )


def _inner(value: Any) -> str:
    if isinstance(value, Html):
        return value
    if value is None:
        return ""
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return "".join(map(_inner, value))
    return _html.escape(str(value))
