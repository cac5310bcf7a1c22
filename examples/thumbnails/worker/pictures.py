"""Pictures: decode what strangers upload, and shrink it. Bytes in, bytes out."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from PIL import Image, ImageOps

#: The formats that are decoded: each further decoder is code that strangers can reach.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
#: The largest picture that is decoded: as RGBA it takes 200 MB.
MAX_PIXELS = 50_000_000


class BadPicture(ValueError):
    """These bytes are no picture that we decode, and never will be."""


@dataclass(frozen=True)
class Shrunk:
    """A small copy of a picture, as WebP."""

    side: int
    width: int
    height: int
    data: bytes


def shrink(data: bytes, sides: Iterable[int]) -> Iterator[Shrunk]:
    """Yield a copy of a picture for each side, upright, without its metadata, and never enlarged.

    Args:
        data: the picture.
        sides: the longest side of each copy, in pixels.

    Raises:
        BadPicture: it can't be decoded, or has more than `MAX_PIXELS`.
    """
    largest_first = sorted(set(sides), reverse=True)
    picture = _decoded(data, at_least=largest_first[0])
    for side in largest_first:
        picture.thumbnail((side, side))  # from the copy before, which is smaller than the original
        yield Shrunk(side, picture.width, picture.height, _webp(picture))


def _decoded(data: bytes, *, at_least: int) -> Image.Image:
    """Return the picture upright, as RGB or RGBA.

    Args:
        data: the picture.
        at_least: a JPEG that is more than twice as large as this is decoded at a half, a quarter or an eighth of its
            size, which saves most of the time and memory.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            pixels = picture.width * picture.height
            if pixels > MAX_PIXELS:
                raise BadPicture(f"{pixels:,} pixels are more than the {MAX_PIXELS:,} that are decoded")
            picture.draft("RGB", (2 * at_least, 2 * at_least))
            upright = ImageOps.exif_transpose(picture)
            return upright.convert("RGBA" if upright.has_transparency_data else "RGB")
    except (OSError, SyntaxError, struct.error, Image.DecompressionBombError) as error:  # what Pillow's decoders raise
        raise BadPicture(f"no picture that can be decoded: {error}") from error


def _webp(picture: Image.Image) -> bytes:
    target = io.BytesIO()
    picture.save(target, "WEBP", quality=80)
    return target.getvalue()
