"""What the page sends of a frame: eight bits, fewer pixels, raw or JPEG."""

from __future__ import annotations

import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st

from marey.errors import StreamError
from marey.sinks.web import frames
from marey.stream import Spec


def pixels(picture: frames.Picture, height: int, width: int, colours: int = 1) -> np.ndarray:
    skip = picture.step // 2
    shape = (-(-(height - skip) // picture.step), -(-(width - skip) // picture.step))
    return np.frombuffer(picture.body, np.uint8).reshape(*shape, *([3] if colours == 3 else []))


def test_eight_bits_come_as_they_are() -> None:
    image = np.arange(12 * 20, dtype=np.uint8).reshape(12, 20)
    picture = frames.render(image)
    assert (picture.lo, picture.hi, picture.step) == (0, 255, 1)
    np.testing.assert_array_equal(pixels(picture, 12, 20), image)


def test_colour_comes_as_it_is() -> None:
    image = np.random.default_rng(1).integers(0, 256, (7, 9, 3), np.uint8)
    np.testing.assert_array_equal(pixels(frames.render(image), 7, 9, 3), image)


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "i4", "f4", "f8"])
def test_limits_are_black_and_white(dtype: str) -> None:
    image = np.array([[10, 20, 30, 40, 50, 60]], dtype)
    picture = frames.render(image, lo=20, hi=50)
    assert pixels(picture, 1, 6).tolist() == [[0, 0, 85, 170, 255, 255]]
    assert (picture.lo, picture.hi) == (20, 50)


@given(st.integers(0, 65535), st.integers(0, 65535))
def test_the_table_maps_as_arithmetic_does(lo: int, hi: int) -> None:
    lo, hi = sorted((lo, hi))
    hi += 1
    values = np.arange(0, 65536, 17, dtype=np.uint16)
    by_table = frames.to_bytes(values, lo, hi).astype(int)
    by_sum = np.floor(np.clip((values.astype(float) - lo) / (hi - lo) * 255 + 0.5, 0, 255))
    # One level, where a value lies on the border of two.
    assert np.abs(by_table - by_sum).max() <= 1


def test_what_is_no_number_is_black() -> None:
    image = np.array([[np.nan, 1.0, np.inf, -np.inf]], np.float32)
    assert pixels(frames.render(image, lo=0, hi=1), 1, 4).tolist() == [[0, 255, 255, 0]]


def test_automatic_limits_leave_out_the_extremes() -> None:
    image = np.full((200, 200), 1000, np.uint16)
    image[::2] = 3000
    image[0, 0], image[0, 1] = 0, 65535
    lo, hi = frames.auto_limits(image)
    assert (lo, hi) == (1000, 3000)
    picture = frames.render(image)
    assert (picture.lo, picture.hi) == (1000, 3000)


@pytest.mark.parametrize(
    "image", [np.zeros((5, 5), np.uint16), np.full((5, 5), np.nan, np.float32)]
)
def test_automatic_limits_of_a_flat_image_are_apart(image: np.ndarray) -> None:
    lo, hi = frames.auto_limits(image)
    assert lo < hi


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 400))
def test_reduction_takes_the_pixel_in_the_middle(height: int, width: int, wanted: int) -> None:
    y, x = np.mgrid[0:height, 0:width]
    few, step = frames.reduce(np.stack([y, x], 2), wanted)
    assert few.shape[0] >= 1
    assert few.shape[1] >= 1
    assert step == 1 or few.shape[1] >= min(wanted, width) * 0.99 or step == height
    assert (few[0, 0] == step // 2).all()
    if few.shape[1] > 1:
        assert (np.diff(few[..., 1], axis=1) == step).all()


@pytest.mark.parametrize("colours", [1, 3])
def test_jpeg_is_the_same_picture(colours: int) -> None:
    y, x = np.mgrid[0:64, 0:80]
    image = (x * 2 + y).astype(np.uint8)
    image = np.stack([image] * 3, 2) if colours == 3 else image
    picture = frames.render(image, form="jpeg", quality=95)
    decoded = simplejpeg.decode_jpeg(picture.body, "RGB" if colours == 3 else "GRAY")
    np.testing.assert_allclose(decoded.reshape(image.shape), image, atol=4)


@pytest.mark.parametrize(
    "item",
    [
        np.zeros(5),
        np.zeros((2, 2, 2)),
        np.zeros((2, 2, 3, 1)),
        np.zeros((2, 2), complex),
        np.zeros((0, 4)),
        np.zeros((2, 2), [("x", "f4")]),
    ],
)
def test_what_is_no_picture_is_refused(item: np.ndarray) -> None:
    with pytest.raises(StreamError, match=r"found .* expected"):
        frames.render(item)


def test_histogram_counts_whole_numbers_one_by_one() -> None:
    image = np.array([[0, 1, 1, 255]], np.uint8)
    found = frames.histogram(image, Spec((1, 4), image.dtype, pixel_format="Mono8"))
    assert (found["lo"], found["hi"]) == (0, 255)
    assert found["counts"][:2] == [1, 2]
    assert found["counts"][255] == 1
    assert sum(found["counts"]) == 4


@pytest.mark.parametrize(
    ("pixel_format", "brightest", "hi"),
    [("Mono12", 100, 4095), ("Mono16", 1000, 1023), ("", 3000, 4095), ("Mono12", 5000, 8191)],
)
def test_histogram_spans_the_significant_bits(pixel_format: str, brightest: int, hi: int) -> None:
    image = np.array([[0, brightest]], np.uint16)
    found = frames.histogram(image, Spec((1, 2), image.dtype, pixel_format=pixel_format))
    assert (found["lo"], found["hi"]) == (0, hi)


def test_histogram_of_real_numbers_spans_what_is_finite() -> None:
    image = np.array([[np.nan, -2.0, 3.0, np.inf]], np.float32)
    found = frames.histogram(image, Spec((1, 4), image.dtype))
    assert (found["lo"], found["hi"], sum(found["counts"])) == (-2, 3, 2)
