"""The command line of `./invoke`, where pyinvoke needs a hand.

- Commands that take any number of words: `./invoke submit TYPE key=value key=value`. pyinvoke takes as many positional
  arguments as a task names and no more. Such a command declares an option that may be repeated (`iterable=["word"]`),
  and its words are handed to that option before pyinvoke looks at them.
- `./invoke COMMAND --help` and `./invoke help COMMAND`, also where the command's arguments are missing.
- What follows `--` is handed on word for word, as a shell would quote it.
- A misspelt command or option gets a suggestion, and exit code 2 as any wrong use; a word where a
  number belongs is told with its option.
"""

from __future__ import annotations

import copy
import inspect
import re
import shlex
import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from invoke import Exit, ParseError, ParserContext

from poolhouse.pipeline import numbers
from poolhouse.pipeline.exit_codes import USAGE
from poolhouse.pipeline.nearest import did_you_mean

#: The option that takes the words.
OPTION = "--word"
_NUMBERS = {int: "a whole number", float: "a number"}
_UNKNOWN = re.compile(r"No idea what '(?P<token>.*)' is!")
_NO_VALUE = re.compile(r"Flag <Argument: (?P<name>[\w-]+).*> needed value")


def install(program: Any) -> None:
    """Prepare the command line of a pyinvoke program before it is parsed against the commands.

    The collection is complete only then: a project adds commands of its own to it.

    Args:
        program: `invoke.main.program`; one that parses nothing is left alone.
    """
    if hasattr(program, "config"):
        # A ~/.invoke.yaml of the user's may have it otherwise, for the commands of other projects.
        program.config.tasks.auto_dash_names = True
    parse = program.parse_tasks

    def prepared() -> None:
        tokens, names = program.core.unparsed, program.collection.task_names
        if "--" in program.argv:
            # pyinvoke joins these with spaces, which loses where a word ended.
            program.core.remainder = shlex.join(program.argv[program.argv.index("--") + 1 :])
        command = _command(program.collection, tokens[0]) if tokens and tokens[0] in names else None
        wanted = help_wanted(tokens, command=command, names=names)
        if wanted:
            print(help_text(_command(program.collection, wanted), inspect.getdoc(program.collection[wanted]) or ""))
            raise Exit
        tokens[:] = spread(tokens, command=command)
        # pyinvoke reads `1_0` as 10, and lets the error about any other text through, which names no option.
        problem = no_number(tokens, {name: _command(program.collection, name) for name in {*tokens} & {*names}})
        if problem is not None:
            raise Exit(problem, code=USAGE)
        try:
            parse()
        except ParseError as error:
            raise Exit(explain(error, names=names), code=USAGE) from None

    program.parse_tasks = prepared


def _command(collection: Any, name: str) -> ParserContext:
    """Return how a command is parsed; pyinvoke takes the help texts out of a task as it makes its arguments."""
    command = copy.copy(collection[name])
    command.help = dict(command.help)
    return ParserContext(name, args=command.get_arguments())


def help_text(command: ParserContext, docstring: str) -> str:
    """Return what `--help` prints: how a command is called, what it does, and each of its options."""
    words = [argument.name.upper() for argument in command.positional_args]
    words += ["[WORD …]"] if OPTION in command.flags else []
    options = [(flag, text) for flag, text in command.help_tuples() if not flag.startswith(OPTION)]
    width = max((len(flag) for flag, _ in options), default=0) + 3
    lines = [f"Usage: {' '.join(['./invoke', command.name, *(['[OPTIONS]'] if options else []), *words])}", ""]
    lines += [f"  {line}".rstrip() for line in docstring.splitlines()]
    if options:
        lines += ["", "Options:"]
        lines += [
            textwrap.fill(f"{flag:<{width}}{text}", width=110, initial_indent="  ", subsequent_indent=" " * (width + 2))
            for flag, text in options
        ]
    return "\n".join(lines)


def help_wanted(tokens: Sequence[str], *, command: ParserContext | None, names: Collection[str]) -> str | None:
    """Return the command that a command line asks help for: `COMMAND … --help` or `help COMMAND`.

    Args:
        tokens: what follows `invoke` and its own options.
        command: the one that the first token names, if it names one.
        names: all commands.
    """
    if tokens[:1] == ["help"] and len(tokens) == 2 and tokens[1] in names:
        return tokens[1]
    return tokens[0] if command and {"--help", "-h"} & set(_flags(tokens[1:], command)) else None


def spread(tokens: Sequence[str], *, command: ParserContext | None) -> list[str]:
    """Return the tokens of a command line with `--word` before each free word of its first command.

    Args:
        tokens: what follows `invoke` and its own options.
        command: the one that the first token names, if it names one; where it takes words, all that follows is its own.
    """
    if command is None or OPTION not in command.flags:
        return list(tokens)
    takes_value = _taking_a_value(command)
    positional = len(command.positional_args)
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


def explain(error: ParseError, *, names: Collection[str]) -> str:
    """Return what is wrong with a command line, and what to write instead."""
    command = error.context.name if error.context else None
    more = f"./invoke {command} --help shows what it takes." if command else "./invoke --list lists the commands."
    bare = _NO_VALUE.search(str(error))
    if bare is not None:
        return f"invoke: {command} --{bare['name']} takes a value. {more}"
    unknown = _UNKNOWN.search(str(error))
    if unknown is None:
        return f"invoke: {str(error).rstrip('.!')}. {more}"
    token = unknown["token"]
    if command and token.startswith("-"):
        return f"invoke: {command} has no option {token}.{did_you_mean(token, error.context.flags)} {more}"
    near = did_you_mean(token, names)
    if command and not near:
        return f"invoke: {command} takes no argument {token!r}. {more}"
    return f"invoke: there is no command {token!r}.{near} ./invoke --list lists the commands."


def no_number(tokens: Sequence[str], commands: Mapping[str, ParserContext]) -> str | None:
    """Return what is wrong with the first option whose value is not the number that it takes; None without one.

    Args:
        tokens: what follows `invoke` and its own options.
        commands: those that the tokens may name.
    """
    command: ParserContext | None = None
    words = iter(tokens)
    for token in words:
        if not token.startswith("-"):
            command = commands.get(token, command)
            continue
        flag, equals, value = token.partition("=")
        argument = command.flags.get(flag) if command else None
        if command is None or argument is None or not argument.takes_value:
            continue
        given = value if equals else next(words, None)
        if argument.kind not in _NUMBERS or given is None:
            continue
        try:
            numbers.of_text(given, fraction=argument.kind is float)
        except ValueError:
            return (
                f"invoke: {command.name} {flag} takes {_NUMBERS[argument.kind]}, not {given!r}. "
                f"./invoke {command.name} --help shows what it takes."
            )
    return None


def _taking_a_value(command: ParserContext) -> set[str]:
    return {flag for flag, argument in command.flags.items() if argument.takes_value}


def _flags(tokens: Sequence[str], command: ParserContext) -> Iterator[str]:
    """Yield the flags among the tokens; what follows an option that takes a value is its value."""
    takes_value, value_follows = _taking_a_value(command), False
    for token in tokens:
        if not value_follows and token.startswith("-"):
            yield token
        value_follows = not value_follows and token in takes_value
