"""Images: what their header says, and thumbnails."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from PIL import Image, UnidentifiedImageError

from poolhouse.worker.errors import Reject
from worker.transforms.files.operations import Thumbnail
from worker.transforms.files.report import ImageReport
from worker.transforms.tables.guard import guarded

#: The largest image that is decoded, in pixels: 50 million take 200 MB as RGBA.
MAX_PIXELS = 50_000_000
#: Of WebP, whose decoder holds the image several times over.
MAX_WEBP_PIXELS = 16_000_000
#: Pixels that are converted at a time, beside the image itself.
STRIP_PIXELS = 2_000_000
_FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF")
_ORIENTATION = 0x0112  # EXIF 2.3, 4.6.4
#: Modes that are shrunk as they are, and converted afterwards.
_PLAIN_MODES = frozenset({"L", "LA", "RGB", "RGBA", "CMYK", "YCbCr"})

# Pillow's own limit is a global that also stops reading the header; each decoding here checks `MAX_PIXELS` first.
Image.MAX_IMAGE_PIXELS = None


def inspect(path: Path) -> ImageReport:
    """What an image's header says; nothing is decoded. Raises `Reject` where it is broken."""
    with _opened(path) as image:
        orientation = _orientation(image, path)
        return ImageReport(
            width=image.width,
            height=image.height,
            # What cameras write is a JPEG with more images after it, which Pillow has a name of its own for.
            format="jpeg" if image.format == "MPO" else str(image.format).lower(),
            orientation=orientation,
        )


def thumbnail(path: Path, target: Path, operation: Thumbnail, pause: Callable[[], None]) -> None:
    """Write a small, upright copy of the image's first frame.

    Args:
        pause: called between two steps.

    Raises:
        Reject: the image is broken, or larger than `MAX_PIXELS`.
    """
    with _opened(path) as image:
        limit = MAX_WEBP_PIXELS if image.format == "WEBP" else MAX_PIXELS
        if image.width * image.height > limit:
            raise Reject(f"the image has {image.width} × {image.height} pixels, more than the {limit} that are decoded")
        orientation = _orientation(image, path)
        has_alpha = "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info
        mode = "RGBA" if has_alpha else "RGB"
        side = operation.longest_side
        # Every copy at full size counts. JPEG decodes to an eighth and so on at once.
        image.draft(None, (side * 2, side * 2))
        image.load()
        pause()
        if image.mode in _PLAIN_MODES and "transparency" not in image.info:
            small = image
        else:
            small = _shrunk_in_strips(image, mode, side, pause)
        small.thumbnail((side, side))
        pause()
        turned = _TURNS.get(orientation)
        upright = small.transpose(turned) if turned is not None else small
        upright = upright if upright.mode == mode else upright.convert(mode)
        if operation.format == "jpeg" and has_alpha:
            white = Image.new("RGB", upright.size, "white")
            white.paste(upright, mask=upright.getchannel("A"))
            upright = white
        profile = image.info.get("icc_profile")
        # A profile for other colours than the thumbnail has would spoil these: ICC.1:2022, 7.2.8.
        kept = profile if isinstance(profile, bytes) and profile[16:20] == b"RGB " and "RGB" in image.mode else None
        upright.info.clear()
        upright.save(target, format=operation.format.upper(), icc_profile=kept)


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _shrunk_in_strips(image: Image.Image, mode: str, side: int, pause: Callable[[], None]) -> Image.Image:
    """The image in another mode, at least twice as large as the thumbnail where it is larger than that.

    Strip by strip: to convert it as a whole takes as much memory as the image itself.
    """
    width, height = image.size
    factor = max(1, min(width, height, max(width, height) // (2 * side)))
    small = Image.new(mode, (math.ceil(width / factor), math.ceil(height / factor)))
    levels = _levels(image)
    rows = max(1, STRIP_PIXELS // (width * factor)) * factor
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        if levels:
            strip = _in_bytes(strip, *levels)
        strip = strip.convert(mode)
        small.paste(strip.reduce(factor) if factor > 1 else strip, (0, top // factor))
        pause()
    return small


def _levels(image: Image.Image) -> tuple[float, float] | None:
    """What is black and what is white in an image of more than 8 bits a pixel; None for others."""
    if image.mode.startswith("I;16"):
        return 0.0, 65535.0
    if image.mode not in {"I", "F"}:
        return None
    least, most = image.getextrema()
    low, high = float(least), float(most)  # type: ignore[arg-type]
    if not math.isfinite(low) or not math.isfinite(high):
        raise Reject("the image has pixels that are infinite or no numbers")
    usual = (1.0,) if image.mode == "F" else ()
    if low >= 0:
        for white in (*usual, 255.0, 65535.0):
            if high <= white:
                return 0.0, white
    return low, high


def _in_bytes(strip: Image.Image, black: float, white: float) -> Image.Image:
    scale = 255.0 / ((white - black) or 1.0)
    if strip.mode.startswith("I;16"):
        strip = strip.convert("I")
    return strip.point(lambda value: value * scale + (0.5 - black * scale)).convert("L")


def _orientation(image: Image.Image, path: Path) -> int:
    """The EXIF orientation, 1 to 8. A PNG may have it behind its pixels: they are skipped, not decoded."""
    if image.format == "PNG" and "exif" not in image.info:
        with path.open("rb") as source:
            data = _late_exif(source)
        exif = Image.Exif()
        if data:
            exif.load(b"Exif\0\0" + data)
    else:
        exif = image.getexif()
    found = exif.get(_ORIENTATION, 1)
    return found if found in range(1, 9) else 1


def _late_exif(source: IO[bytes]) -> bytes | None:
    """The eXIf chunk of a PNG, wherever it is: PNG specification, 5.3 and 11.3.4.5."""
    source.seek(8)
    while len(head := source.read(8)) == 8:
        size, kind = int.from_bytes(head[:4], "big"), head[4:]
        if kind == b"eXIf" and size <= 1024 * 1024:
            return source.read(size)
        if kind == b"IEND" or size > 2**31:
            return None
        source.seek(size + 4, 1)
    return None


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    with guarded("the image is broken"), warnings.catch_warnings(), path.open("rb") as source:
        # Broken metadata is warned of; the image itself may be fine.
        warnings.simplefilter("ignore")
        try:
            image = Image.open(source, formats=_FORMATS)
        except UnidentifiedImageError as error:
            raise Reject("the image is broken: its header can't be read") from error
        with image:
            yield image
