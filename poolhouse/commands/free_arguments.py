"""Commands that take any number of words: `invoke submit TYPE key=value key=value`.

pyinvoke takes as many positional arguments as a task names and no more. Such a command declares an option that may be
repeated (`iterable=["word"]`), and its words are handed to that option before pyinvoke looks at them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: The option that takes the words.
OPTION = "--word"


def spread(tokens: Sequence[str], *, commands: Mapping[str, Any]) -> list[str]:
    """The tokens of a command line with `--word` before each free word of its first command.

    Args:
        tokens: what follows `invoke` and its own options.
        commands: pyinvoke tasks that take words, by name; all that follows such a name is theirs.
    """
    if not tokens or tokens[0] not in commands:
        return list(tokens)
    arguments = commands[tokens[0]].get_arguments()
    takes_value = {
        ("--" if len(name) > 1 else "-") + name.replace("_", "-")
        for argument in arguments
        if argument.takes_value
        for name in argument.names
    }
    positional = sum(argument.positional for argument in arguments)
    spread_tokens, value_follows = [tokens[0]], False
    for token in tokens[1:]:
        if value_follows or token.startswith("-"):
            value_follows = not value_follows and token in takes_value
        elif positional:
            positional -= 1
        else:
            spread_tokens.append(OPTION)
        spread_tokens.append(token)
    return spread_tokens


def install(program: Any, *commands: Any) -> None:
    """Let tasks take words in a pyinvoke program that is reading its command line just now.

    Args:
        program: `invoke.main.program`; one that runs nothing is left alone.
        *commands: pyinvoke tasks.
    """
    core = getattr(program, "core", None)
    if core is not None:
        core.unparsed[:] = spread(
            core.unparsed, commands={command.name.replace("_", "-"): command for command in commands}
        )
