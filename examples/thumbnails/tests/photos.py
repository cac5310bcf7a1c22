"""Pictures as cameras and people make them."""

from __future__ import annotations

import io

from PIL import Image

#: EXIF 2.3, 4.6.4 and 4.6.6: the turn that shows it upright, and where it was taken.
ORIENTATION, GPS = 0x0112, 0x8825
LATITUDE_REF = 1


def photo(width: int = 800, height: int = 600, *, turned: bool = False, taken_at: str | None = None) -> bytes:
    """Return a JPEG.

    Args:
        width: of the pixels that are stored.
        height: as `width`.
        turned: whether the camera was held upright: viewers turn it by 90 degrees.
        taken_at: the hemisphere, N or S; None: the camera does not say.
    """
    exif = Image.Exif()
    if turned:
        exif[ORIENTATION] = 6
    if taken_at is not None:
        exif.get_ifd(GPS)[LATITUDE_REF] = taken_at
    return encoded(Image.new("RGB", (width, height), "teal"), "JPEG", exif=exif)


def encoded(picture: Image.Image, format: str, **options: object) -> bytes:
    """Return the bytes of a picture."""
    target = io.BytesIO()
    picture.save(target, format, **options)
    return target.getvalue()


def decoded(data: bytes) -> Image.Image:
    """Return the picture of some bytes."""
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
    return picture
