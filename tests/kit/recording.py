"""Make docs/first-task.svg: the commands of the README and what they print, as a picture of a terminal.

    ./invoke down; .venv/bin/python -m tests.kit.recording

No stack may be running. The handler of the README is written to worker/handlers/greet.py and removed in the end.
"""

from __future__ import annotations

import io
import os
import re
import subprocess

from rich.console import Console
from rich.text import Text

from poolhouse.project import ROOT

PICTURE = ROOT / "docs" / "first-task.svg"
HANDLER = ROOT / "worker" / "handlers" / "greet.py"
COMMANDS = (
    "./invoke up --reload --backend embedded",
    "./invoke submit greet name=Ada --watch",
    "./invoke submit greet nam=Ada",
    "./invoke tasks",
    "./invoke status",
)
COLUMNS = 110
#: rich's own picture without its web font: a page that shows it loads nothing from elsewhere.
_FORMAT = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, monospace; font-size: {char_height}px;
  line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def main() -> None:
    """Run the commands and write the picture."""
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert code is not None
    terminal = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    with HANDLER.open("x", encoding="utf-8") as file:
        file.write(code[1])
    try:
        for command in COMMANDS:
            terminal.print(f"[bold green]$[/] [bold]{command}[/]", highlight=False)
            terminal.print(Text.from_ansi(_output(command)))
    finally:
        _output("./invoke down")
        HANDLER.unlink()
    PICTURE.write_text(terminal.export_svg(title="Poolhouse", code_format=_FORMAT), encoding="utf-8")


def _output(command: str) -> str:
    environment = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": str(COLUMNS)}
    ended = subprocess.run(
        command.split(),
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    # Progress bars erase themselves on a terminal; here each of their frames would be a line.
    lines = ended.stdout.replace("\r", "").splitlines()
    return "\n".join(line for line in lines if "━" not in line and line.strip("\x1b[2KA?5lh1m0")) + "\n"


if __name__ == "__main__":
    main()
