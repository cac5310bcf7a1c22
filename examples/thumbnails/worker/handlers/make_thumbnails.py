"""`make_thumbnails`: small copies of a picture that was uploaded."""

from __future__ import annotations

from typing import Annotated

from poolhouse import Payload, Reject, TaskContext, task
from poolhouse.pipeline import names
from poolhouse.pipeline.errors import ObjectNotFound
from poolhouse.pipeline.names import FileName
from pydantic import BaseModel, Field

from worker.pictures import BadPicture, shrink

#: The largest file that is read. A photograph of 50 megapixels has about 20 MB.
MAX_BYTES = 50_000_000


class Picture(Payload):
    """What the trigger in pipeline.toml submits; clients may do so too."""

    picture: FileName
    sides: tuple[Annotated[int, Field(ge=16, le=4096)], ...] = Field(min_length=1, max_length=8)


class Thumbnail(BaseModel):
    """A small copy: `GET /files/FILE?folder=processed` serves it."""

    file: FileName
    width: int
    height: int
    size_bytes: int


class Thumbnails(BaseModel):
    """The copies of one picture, the largest first."""

    picture: str
    thumbnails: list[Thumbnail]


# cpu: decoding takes a core, and a decoder that crashes takes no other task with it.
# serial_by: of two versions of a picture the one that runs last reads the newest, so no older copy is written over it.
@task("make_thumbnails", cpu=True, timeout_s=60, serial_by="picture", reject_on=(BadPicture,))
def make_thumbnails(payload: Picture, ctx: TaskContext) -> Thumbnails:
    """Write `processed/PICTURE/SIDE.webp` for each side."""
    data = _read(ctx, names.upload(payload.picture))
    made = []
    for copy in shrink(data, payload.sides):
        ctx.checkpoint()
        file = f"{payload.picture}/{copy.side}.webp"
        ctx.store.put(names.processed(file), copy.data, content_type="image/webp")
        made.append(Thumbnail(file=file, width=copy.width, height=copy.height, size_bytes=len(copy.data)))
    ctx.log.info("thumbnails made", picture=payload.picture, count=len(made))
    return Thumbnails(picture=payload.picture, thumbnails=made)


def _read(ctx: TaskContext, name: str) -> bytes:
    try:
        size_bytes = ctx.store.stat(name).size_bytes
        if size_bytes > MAX_BYTES:
            raise Reject(f"{name} has {size_bytes:,} bytes, more than the {MAX_BYTES:,} of a picture")
        return ctx.store.get(name)[0]
    except ObjectNotFound:
        raise Reject(f"{name} was deleted before its task ran") from None
