"""The plan as text: what changes, field by field, and the exact commands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from poolhouse.cloud.plan.planner import Action, Plan
from poolhouse.cloud.resource import IMAGE, Command, Leftover, Resource, Value

_SIGNS = {"create": "+", "update": "~", "unchanged": "="}


def plan_text(plan: Plan, *, project: str, commands: bool = True) -> str:
    """The plan for a person.

    Args:
        plan: what to show.
        project: named in the commands.
        commands: whether the gcloud commands are shown under each action.
    """
    lines = [line for action in plan.work for line in _action(action, project=project, commands=commands)]
    unchanged = [action for action in plan.actions if action.verb == "unchanged"]
    if unchanged and plan.work:
        lines.append("")
    if unchanged:
        lines.append(f"= unchanged: {_counted(action.resource.kind for action in unchanged)}")
    if plan.leftovers:
        lines += ["", "Not in pipeline.toml any more, kept unless you say --prune:"]
        lines += [f"- {leftover.kind} {leftover.name}" for leftover in plan.leftovers]
    lines += ["", summary(plan)]
    return "\n".join(lines)


def summary(plan: Plan) -> str:
    """The plan in one line."""
    counts = {verb: sum(action.verb == verb for action in plan.actions) for verb in _SIGNS}
    if not plan.work:
        return f"Nothing to do: all {counts['unchanged']} resources are as pipeline.toml wants them."
    return (
        f"{counts['create']} to create, {counts['update']} to update, {counts['unchanged']} unchanged; "
        f"{len(plan.commands)} gcloud commands."
    )


def removal_text(leftovers: Sequence[Leftover], *, project: str) -> str:
    """What would be removed, with the commands."""
    lines = []
    for leftover in leftovers:
        lines.append(f"- {leftover.kind} {leftover.name}")
        lines.extend(f"    {shown(command, project=project)}" for command in leftover.delete)
    return "\n".join(lines)


def shown(command: Command, *, project: str) -> str:
    """The command line as it can be pasted; files that it needs are shown behind it by `files_text`."""
    return f"{command.shown()} --project={project}"


def files_text(plan: Plan) -> str:
    """The files that the commands name, each once."""
    lines = []
    for action in plan.work:
        for command in action.commands:
            for name, text in command.files.items():
                lines += [f"# {name} for {action.resource.id}", _with_image(text, action.resource), ""]
    return "\n".join(lines)


def _action(action: Action, *, project: str, commands: bool) -> Iterator[str]:
    resource = action.resource
    yield f"{_SIGNS[action.verb]} {resource.kind} {resource.name}"
    if action.verb == "create":
        for name, value in resource.wanted.items():
            yield f"    {name}: {_value(value)}"
    for change in action.changes:
        yield f"    {change.field}: {_value(change.before)} -> {_value(change.after)}"
    if commands:
        for command in action.commands:
            words = _with_image(shown(command, project=project), resource)
            yield f"    $ {words.replace('{sources}', 'SOURCES')}"


def _with_image(text: str, resource: Resource) -> str:
    return text.replace(IMAGE, str(resource.wanted.get("image", IMAGE)))


def _value(value: Value) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case tuple():
            return ", ".join(value) or "none"
        case float():
            return f"{value:g}"
        case _:
            return str(value)


def _counted(kinds: Iterable[str]) -> str:
    counts: dict[str, int] = {}
    for kind in kinds:
        counts[kind] = counts.get(kind, 0) + 1
    return ", ".join(
        f"{count} {kind}{'s' if count > 1 and not kind.endswith('s') else ''}" for kind, count in counts.items()
    )
