"""Shrinking, without a pipeline."""

from __future__ import annotations

import pytest
from PIL import Image

from tests.photos import GPS, LATITUDE_REF, decoded, encoded, photo
from worker import pictures
from worker.pictures import BadPicture, shrink


def sizes(data: bytes, *sides: int) -> list[tuple[int, int]]:
    return [decoded(copy.data).size for copy in shrink(data, sides)]


def test_the_longest_side_is_what_was_asked_for_and_the_shape_stays() -> None:
    assert sizes(photo(800, 600), 160, 400) == [(400, 300), (160, 120)]
    assert sizes(photo(600, 1200), 400) == [(200, 400)]


def test_a_small_picture_is_not_enlarged() -> None:
    assert sizes(photo(80, 60), 160) == [(80, 60)]


def test_a_photo_of_a_camera_held_upright_is_upright() -> None:
    assert sizes(photo(800, 600, turned=True), 160) == [(120, 160)]


def test_where_a_photo_was_taken_stays_with_the_original() -> None:
    original = photo(taken_at="N")
    assert decoded(original).getexif().get_ifd(GPS) == {LATITUDE_REF: "N"}
    [copy] = shrink(original, [160])
    assert not decoded(copy.data).getexif()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_stays_so(mode: str) -> None:
    [copy] = shrink(encoded(Image.new(mode, (300, 300)), "PNG"), [160])
    assert decoded(copy.data).convert("RGBA").getpixel((80, 80)) == (0, 0, 0, 0)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr"])
def test_a_picture_of_any_mode_is_shrunk(mode: str) -> None:
    format = "JPEG" if mode in {"CMYK", "YCbCr"} else "PNG"
    assert sizes(encoded(Image.new(mode, (300, 150)), format), 160) == [(160, 80)]


@pytest.mark.parametrize("data", [b"", b"no picture", photo()[:200], encoded(Image.new("RGB", (9, 9)), "TIFF")])
def test_what_is_no_picture_is_bad(data: bytes) -> None:
    with pytest.raises(BadPicture, match="no picture that can be decoded"):
        list(shrink(data, [160]))


def test_a_picture_with_too_many_pixels_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MAX_PIXELS", 800 * 600 - 1)
    with pytest.raises(BadPicture, match="480,000 pixels are more than the 479,999"):
        list(shrink(photo(800, 600), [160]))
