"""Images: what their header says, and thumbnails."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageOps

from poolhouse.worker.errors import Reject
from worker.transforms.files.operations import Thumbnail
from worker.transforms.files.report import ImageReport

#: The largest image that is decoded, in pixels: 50 million take 200 MB as RGBA, and as much again while they shrink.
MAX_PIXELS = 50_000_000
#: Of WebP, whose decoder holds the image several times over.
MAX_WEBP_PIXELS = 16_000_000
_FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF")
_ORIENTATION = 0x0112  # EXIF 2.3, 4.6.4

# Pillow's own limit is a global that also stops reading the header; each decoding here checks `MAX_PIXELS` first.
Image.MAX_IMAGE_PIXELS = None


def inspect(path: Path) -> ImageReport:
    """What an image's header says; nothing is decoded. Raises `Reject` where it is broken."""
    with _opened(path) as image:
        # A PNG may have its EXIF behind the pixels: Pillow would decode them all to look.
        has_exif = image.format != "PNG" or "exif" in image.info
        orientation = image.getexif().get(_ORIENTATION, 1) if has_exif else 1
        return ImageReport(
            width=image.width,
            height=image.height,
            format=str(image.format).lower(),
            orientation=orientation if orientation in range(1, 9) else 1,
        )


def thumbnail(path: Path, target: Path, operation: Thumbnail) -> None:
    """Write a small, upright copy of the image's first frame.

    Raises:
        Reject: the image is broken, or larger than `MAX_PIXELS`.
    """
    with _opened(path) as image:
        limit = MAX_WEBP_PIXELS if image.format == "WEBP" else MAX_PIXELS
        if image.width * image.height > limit:
            raise Reject(f"the image has {image.width} × {image.height} pixels, more than the {limit} that are decoded")
        # Shrunk first, and in place: every copy at full size counts. JPEG decodes to an eighth and so on at once.
        has_alpha = "A" in image.getbands() or "transparency" in image.info
        mode = "RGBA" if has_alpha else "RGB"
        shrinks_as_it_is = (
            image.mode in {"L", "LA", "RGB", "RGBA", "CMYK", "YCbCr"} and "transparency" not in image.info
        )
        shrunk = image if shrinks_as_it_is else image.convert(mode)
        shrunk.thumbnail((operation.longest_side, operation.longest_side))
        small = ImageOps.exif_transpose(shrunk).convert(mode)
        if operation.format == "jpeg" and has_alpha:
            white = Image.new("RGB", small.size, "white")
            white.paste(small, mask=small.getchannel("A"))
            small = white
        small.save(target, format=operation.format.upper())


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with warnings.catch_warnings():
            # Broken metadata is warned of; the image itself may be fine.
            warnings.simplefilter("ignore")
            with Image.open(path, formats=_FORMATS) as image:
                yield image
    except (OSError, SyntaxError, ValueError, EOFError, KeyError, TypeError, IndexError, OverflowError) as error:
        # Pillow's decoders raise all of these for broken files.
        raise Reject(f"the image is broken: {error}") from error
