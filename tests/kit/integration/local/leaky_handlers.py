"""Handlers that let out a secret in every way they have: as they log, report progress and fail."""

from __future__ import annotations

import asyncio
import base64
import logging
import os
from typing import Literal
from urllib.parse import quote

from poolhouse import Payload, Reject, Retry, TaskContext, task


class Leak(Payload):
    by: Literal["error", "reject", "retry"]


def _leak(payload: Leak, ctx: TaskContext) -> None:
    secret = os.environ["PLANTED"]
    ctx.log.info(f"logged {secret}", nested={"token": [secret]})
    logging.getLogger("library").error("GET /?token=%s", quote(secret))
    print("Authorization:", base64.b64encode(secret.encode()).decode())
    print(secret)
    ctx.progress(1, note=secret)
    match payload.by:
        case "reject":
            raise Reject(f"refused {secret}")
        case "retry":
            raise Retry(f"not yet {secret}")
    try:
        raise KeyError(secret)
    except KeyError as error:
        raise ConnectionError(f"no session for {secret}") from error


@task("leak", secrets=("PLANTED",), max_attempts=1)
def leak(payload: Leak, ctx: TaskContext) -> None:
    _leak(payload, ctx)


@task("leak_async", secrets=("PLANTED",), max_attempts=1)
async def leak_async(payload: Leak, ctx: TaskContext) -> None:
    await asyncio.sleep(0)
    _leak(payload, ctx)


@task("leak_in_process", secrets=("PLANTED",), max_attempts=1, cpu=True)
def leak_in_process(payload: Leak, ctx: TaskContext) -> None:
    _leak(payload, ctx)
