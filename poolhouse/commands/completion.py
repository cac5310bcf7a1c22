"""Shell completion for `./invoke`: `eval "$(./invoke completion)"` in bash, after bashcompinit also in zsh.

pyinvoke's own script asks a program `invoke` on the PATH; this one asks the launcher that is being completed, so it is
right in every project.
"""

from __future__ import annotations

_SCRIPT = """\
_poolhouse_invoke() {
    local words
    words=$("$1" --complete -- invoke "${COMP_WORDS[@]:1}" 2>/dev/null | grep -vx -- --word)
    COMPREPLY=($(compgen -W "$words" -- "$2"))
}
complete -o default -F _poolhouse_invoke invoke
"""


def run() -> int:
    """Print the script; return the exit code."""
    print(_SCRIPT, end="")
    return 0
