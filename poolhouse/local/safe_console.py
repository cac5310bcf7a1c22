"""A console of rich that foreign text can't command."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from poolhouse.pipeline.visible import CONTROLS, visible

#: Columns of what is no terminal. A pipe or a file has no width: nothing in it is cut.
NO_WIDTH = 10_000


class SafeConsole(Console):
    """A console on which no foreign text controls the terminal: colours come from markup and styles alone.

    Error texts, log lines, names and payloads are a stranger's words, and pass through here at the latest.
    """

    def __init__(self, **options: Any) -> None:
        """Take the options of rich's console; by default nothing is highlighted, and lines are not wrapped."""
        # Emoji codes are off: `pipeline.toml:100:` is a place in a file.
        super().__init__(**{"highlight": False, "soft_wrap": True, **options}, emoji=False)
        if "width" not in options and not self.file.isatty():
            self.width = NO_WIDTH
        elif self.width < 1:  # COLUMNS=0, as of a terminal whose size is unset: nothing would be shown at all
            self.width = 80
        reconfigure = getattr(self.file, "reconfigure", None)
        if reconfigure is not None:  # a terminal of another encoding lacks characters; that is no reason to fail
            reconfigure(errors="backslashreplace")

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render as rich does, the text of each piece made visible."""
        for segment in super().render(renderable, options):
            if segment.control or not CONTROLS.search(segment.text):
                yield segment
            else:
                yield Segment(visible(segment.text), segment.style)
