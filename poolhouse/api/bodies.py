"""Request bodies: read up to a limit, and as JSON that means one thing to every reader."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from fastapi import Request
from starlette.types import Scope

from poolhouse.api.body_gate import BodyGate
from poolhouse.api.problems import FieldError, Problem, fields_problem
from poolhouse.pipeline import json_values, numbers

#: Bytes and seconds of an oversize body that are read and thrown away: who still sends does not hear the answer.
DRAIN_BYTES = 64_000_000
DRAIN_S = 5.0
#: Longest pause within a body, and longest time for all of it, in seconds.
BODY_PAUSE_S = 20.0
BODY_S = 120.0
#: Bodies above this size wait for room and are parsed on a thread, in bytes: the others take less than a millisecond.
LARGE_BYTES = 64 * 1024
#: Most values in a body: each takes tens of bytes as an object, and can be written as two.
MAX_VALUES = 100_000
#: Deepest nesting of lists and objects.
MAX_DEPTH = 64
#: What to do about a payload that is too large.
TOO_LARGE = (
    "The limit is payloads.max_bytes in pipeline.toml. Send large content as a file (POST /files) and name the file in "
    "the payload."
)
#: Where a request keeps the room that its body takes.
PERMIT = "poolhouse.body_permit"
#: Integers beyond 64 bits mean different things to different readers (RFC 8259, section 6).
_LEAST, _MOST = -(2**63), 2**63 - 1
_Given = ParamSpec("_Given")
_Answer = TypeVar("_Answer")


async def read(request: Request) -> bytes:
    """The body; never more than `payloads.max_bytes` of pipeline.toml are held.

    Raises:
        Problem: 413, longer than that; as soon as that is clear.
    """
    limit = _gate(request).capacity_bytes
    declared = request.headers.get("content-length", "")
    length = numbers.digits(declared)
    if length is not None and length > limit:
        raise await _too_large(request, limit)
    chunks: list[bytes] = []
    size = 0
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + BODY_S
    try:
        async with asyncio.timeout(BODY_PAUSE_S) as pause:
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    break
                chunks.append(chunk)
                if size > LARGE_BYTES and PERMIT not in request.scope:
                    pause.reschedule(None)
                    await _enter(request, limit if length is None else length)
                pause.reschedule(min(ends_at, loop.time() + BODY_PAUSE_S))
    except TimeoutError:
        raise Problem(408, "the body did not come to its end in time", headers={"connection": "close"}) from None
    if size > limit:
        chunks.clear()
        raise await _too_large(request, limit)
    return b"".join(chunks)


def release(scope: Scope) -> None:
    """Give back the room of a request's body, where it took some: at the request's end, when its objects are gone."""
    permit = scope.pop(PERMIT, None)
    if permit is not None:
        gate, size = permit
        gate.leave(size)


async def _enter(request: Request, size: int) -> None:
    gate = _gate(request)
    request.scope[PERMIT] = gate, await gate.enter(size)


def _gate(request: Request) -> BodyGate:
    gate = request.app.state.body_gate
    assert isinstance(gate, BodyGate)
    return gate


async def off_loop(
    request: Request, call: Callable[_Given, _Answer], *args: _Given.args, **kwargs: _Given.kwargs
) -> _Answer:
    """Call what takes its time over the body: on a thread where that is large, as others wait for the event loop."""
    if PERMIT in request.scope:
        return await asyncio.to_thread(call, *args, **kwargs)
    return call(*args, **kwargs)


async def read_object(request: Request) -> dict[str, Any]:
    """The body as a JSON object.

    Raises:
        Problem: 413 too long, 415 compressed or not declared as JSON, 400 no body, not JSON or not an object, 422 a
            value that readers of JSON don't agree on (with its field).
    """
    body = await read(request)
    if not body.strip():
        raise Problem(400, "a JSON body is required", detail="Send a JSON object as the request's body.")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        # Not a formality: a web page of any site may send other types here from its reader's browser.
        raise Problem(415, "the body must be JSON", detail="Send the header Content-Type: application/json.")
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in {"", "identity"}:
        raise Problem(
            415,
            "the body must not be compressed",
            detail="Send it as it is, without the header Content-Encoding.",
            headers={"accept-encoding": "identity"},
        )
    if len(body) > LARGE_BYTES:
        return await asyncio.to_thread(parse_object, body)
    return parse_object(body)


async def read_optional_object(request: Request) -> dict[str, Any]:
    """As `read_object`, but no body reads as an empty object."""
    if request.headers.get("content-length", "0") == "0" and "transfer-encoding" not in request.headers:
        return {}
    return await read_object(request)


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object that `body` is. Raises `Problem` as `read_object`."""
    _check_count(body)
    try:
        value = json.loads(body.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except _DuplicateName as error:
        raise Problem(400, str(error), errors=[FieldError(field=error.name, message="occurs twice")]) from None
    except RecursionError:
        raise Problem(400, f"the body is nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:  # UnicodeDecodeError and JSONDecodeError are
        raise Problem(400, f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise Problem(400, f"the body must be a JSON object, not {json_values.kind(value)}")
    if not _is_sound(value, 0):
        wrong: list[FieldError] = []
        _check(value, (), wrong)
        raise fields_problem(wrong)
    return value


def _check_count(body: bytes) -> None:
    """Refuse a body of too many values before any of them is made.

    Raises:
        Problem: 413 more than `MAX_VALUES`, 400 nested deeper than `MAX_DEPTH`.
    """
    if len(body) <= LARGE_BYTES or body.count(b",") + body.count(b"[") + body.count(b"{") < MAX_VALUES:
        return
    # Some of these are in strings.
    values, depth = 1, 0
    for token in _TOKEN.finditer(body):
        match token.lastgroup:
            case "more":
                values += 1
            case "open":
                values, depth = values + 1, depth + 1
                if depth > MAX_DEPTH:
                    raise Problem(400, f"the body is nested deeper than {MAX_DEPTH} levels")
            case "close":
                depth -= 1
        if values > MAX_VALUES:
            raise Problem(
                413,
                f"the body has more than {MAX_VALUES:,} values",
                detail="Send large content as a file (POST /files) and name the file in the payload.",
            )


#: What tells how many values there are; strings and empty containers are stepped over.
_TOKEN = re.compile(
    rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|\[\s*+\]|\{\s*+\}|(?P<more>,)|(?P<open>[\[{])|(?P<close>[\]}])', re.DOTALL
)
#: Half of a pair, as in "\ud800", has no UTF-8.
_SURROGATE = re.compile("[\ud800-\udfff]")


class _DuplicateName(ValueError):
    def __init__(self, name: str) -> None:
        super().__init__(f"the name {name!r} occurs twice in one object")
        self.name = name


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise _DuplicateName(name)
            seen.add(name)
    return found


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON number")


def _is_sound(value: Any, depth: int) -> bool:
    """Whether `_check` would find nothing: the same without a path, in a fraction of the time."""
    kind = type(value)
    if kind is str:
        return value.isascii() or _SURROGATE.search(value) is None
    if kind is dict:
        return depth < MAX_DEPTH and all(
            _is_sound(name, depth) and _is_sound(item, depth + 1) for name, item in value.items()
        )
    if kind is list:
        return depth < MAX_DEPTH and all(_is_sound(item, depth + 1) for item in value)
    if kind is int:
        return bool(_LEAST <= value <= _MOST)
    return kind is not float or math.isfinite(value)


def _check(value: Any, path: tuple[str, ...], wrong: list[FieldError]) -> None:
    message = None
    if isinstance(value, str):
        if _SURROGATE.search(value) is not None:
            message = "is not valid Unicode"
    elif isinstance(value, dict | list):
        if len(path) >= MAX_DEPTH:
            message = f"is nested deeper than {MAX_DEPTH} levels"
        elif isinstance(value, dict):
            for name, item in value.items():
                _check(name, (*path, "(name)"), wrong)
                _check(item, (*path, name), wrong)
        else:
            for index, item in enumerate(value):
                _check(item, (*path, str(index)), wrong)
    elif isinstance(value, float):
        if not math.isfinite(value):
            message = "is too large for a number"
    elif isinstance(value, int) and not _LEAST <= value <= _MOST:
        message = "is too large for a whole number (64 bits)"
    if message and len(wrong) < 100:
        wrong.append(FieldError(field=".".join(path), message=message))


async def _too_large(request: Request, limit: int) -> Problem:
    if request.headers.get("expect", "").lower() != "100-continue":
        await _drain(request)
    return Problem(
        413,
        f"the body must not be longer than {limit:,} bytes",
        detail=TOO_LARGE,
        headers={"connection": "close"},
    )


async def _drain(request: Request) -> None:
    size = 0
    try:
        async with asyncio.timeout(DRAIN_S):
            async for chunk in request.stream():
                size += len(chunk)
                if size > DRAIN_BYTES:
                    return
    except (TimeoutError, RuntimeError):  # RuntimeError: read to its end already
        return
