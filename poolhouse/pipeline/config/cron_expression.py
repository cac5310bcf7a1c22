"""Cron expressions as Cloud Scheduler reads them, so that what runs on a laptop can be deployed. Pure.

Source: Cloud Scheduler, "Cron job format and time zone". `L`, `W`, `#` and `5/15` of other crons are not in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from cronsim import CronSim, CronSimError

_ANY_TIME = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class _Field:
    name: str
    least: int
    most: int
    #: Names of values, the first of them that of `least`.
    names: tuple[str, ...] = ()


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")),
    _Field("day of the week", 0, 7, ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")),
)
#: Names of other crons for an expression; Cloud Scheduler has none.
_NICKNAMES = {
    "@YEARLY": "0 0 1 1 *",
    "@ANNUALLY": "0 0 1 1 *",
    "@MONTHLY": "0 0 1 * *",
    "@WEEKLY": "0 0 * * 0",
    "@DAILY": "0 0 * * *",
    "@MIDNIGHT": "0 0 * * *",
    "@HOURLY": "0 * * * *",
}
_STEP = re.compile(r"(?P<range>\*|[^/]+-[^/]+)/(?P<step>\d{1,2})", re.ASCII)


def normalized(text: str) -> str:
    """Return an expression with names in upper case and single spaces.

    Raises:
        ValueError: Cloud Scheduler would refuse it, or read it otherwise than other crons do; the text names the field.
    """
    parts = text.upper().split()
    if len(parts) == 1 and parts[0] in _NICKNAMES:
        raise ValueError(f"Cloud Scheduler has no names for expressions: write {_NICKNAMES[parts[0]]!r}")
    if len(parts) != len(_FIELDS):
        raise ValueError("a cron expression has five fields: minute hour day month weekday")
    for field, part in zip(_FIELDS, parts, strict=True):
        _check(field, part)
    day, weekday = parts[2], parts[4]
    for steps, other in ((day, weekday), (weekday, day)):
        if steps.startswith("*/") and other != "*":
            # Debian's cron takes the days that are both, the documentation of Cloud Scheduler reads as either.
            raise ValueError(
                f"crons do not agree on what {steps} means beside another day field: write the range, as in 1-31/2"
            )
    expression = " ".join(parts)
    try:
        CronSim(expression, _ANY_TIME)
    except CronSimError as error:
        if "day-of-month" in str(error):  # each field is sound by itself
            raise ValueError(f"day of the month: day {day} of month {parts[3]} never comes") from None
        raise ValueError(f"not a cron expression: {error}") from None
    return expression


def _check(field: _Field, part: str) -> None:
    for item in part.split(","):
        step = _STEP.fullmatch(item)
        if step is not None and not 1 <= int(step["step"]) <= field.most:
            raise ValueError(f"{field.name}: the step of {item} is not one from 1 to {field.most}")
        bounds = step["range"] if step is not None else item
        if bounds == "*" and "," not in part:
            return
        values = [_value(field, bound, item) for bound in bounds.split("-")]
        if len(values) > 2 or values != sorted(values):
            raise ValueError(f"{field.name}: {item} is not a range from a lower to a higher value")


def _value(field: _Field, text: str, item: str) -> int:
    if text in field.names:
        return field.least + field.names.index(text)
    if re.fullmatch(r"\d{1,2}", text, re.ASCII) and field.least <= int(text) <= field.most:
        return int(text)
    if field.most == 31 and text in {"L", "LW"}:
        raise ValueError(
            f"{field.name}: Cloud Scheduler has no {text}. Run on 28-31, and let the handler return unless the next "
            "day is the first of a month"
        )
    names = f", names from {field.names[0]} to {field.names[-1]}" if field.names else ""
    raise ValueError(
        f"{field.name}: {item[:40]!r} is not possible. Write *, */2, or a list of numbers from {field.least} to "
        f"{field.most}{names} and of ranges such as {field.least}-{field.most}/2"
    )
