"""The camera `images`: folders and TIFF stacks, exactly, at a rate, and their errors."""

from __future__ import annotations

import importlib.util
import os
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import simplejpeg
import tifffile
from pydantic import ValidationError

from marey.cameras.images import Images
from marey.errors import DriverMissing, NodeError
from marey.node import EndOfStream, Stamp
from marey.stream import STAMP

Array = np.ndarray[Any, Any]


def noise(*shape: int, dtype: str = "u1", seed: int = 0) -> Array:
    random = np.random.default_rng(seed)
    if dtype == "f4":
        return random.normal(size=shape).astype("f4")
    return random.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def write_png(path: Path, picture: Array, av_format: str) -> Path:
    """A PNG file written by FFmpeg, which stores the very pixels."""
    encoder = av.CodecContext.create("png", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.height, encoder.width = picture.shape[:2]
    encoder.pix_fmt, encoder.time_base = av_format, Fraction(1)
    frame = av.VideoFrame.from_ndarray(picture, format=av_format)
    packets = [*encoder.encode(frame), *encoder.encode(None)]
    path.write_bytes(b"".join(bytes(packet) for packet in packets))
    return path


@contextmanager
def opened(path: Path, **settings: Any) -> Iterator[Images]:
    camera = Images(path=str(path), **settings)
    try:
        camera.open()
        yield camera
    finally:
        camera.close()


def shots(camera: Images) -> Iterator[tuple[Stamp, Array]]:
    spec = camera.describe()
    out = np.empty(spec.shape, spec.dtype)
    while True:
        try:
            stamp = camera.grab(out)
        except EndOfStream:
            return
        if stamp is not None:
            yield stamp, out.copy()


def pictures(path: Path, **settings: Any) -> list[Array]:
    with opened(path, lossless=True, **settings) as camera:
        return [picture for _, picture in shots(camera)]


# ------------------------------------------------------------------ pixels


@pytest.mark.parametrize(("folder", "count"), [("brightfield", 50), ("bulk_water", 80)])
def test_a_folder_arrives_whole_in_order_and_unchanged(
    shared_data: Path, folder: str, count: int
) -> None:
    expected = []
    for file in sorted((shared_data / folder).glob("*.png")):
        with av.open(str(file)) as container:
            frame = next(container.decode(video=0))
            pixels = frame.to_ndarray()[..., :3] if folder == "bulk_water" else frame.to_ndarray()
            expected.append((len(expected), pixels.shape, zlib.crc32(pixels.tobytes())))
    with opened(shared_data / folder, lossless=True) as camera:
        found = [
            (stamp.device_frame, picture.shape, zlib.crc32(picture.tobytes()))
            for stamp, picture in shots(camera)
        ]
    assert len(found) == count
    assert found == expected


@pytest.mark.parametrize(
    ("av_format", "shape", "dtype", "pixel_format"),
    [
        ("gray", (37, 53), "u1", "Mono8"),
        ("gray16be", (37, 53), "u2", "Mono16"),
        ("rgb24", (37, 53, 3), "u1", "RGB8"),
        ("rgba", (37, 53, 4), "u1", "RGB8"),
        ("rgb48be", (37, 53, 3), "u2", "RGB16"),
    ],
)
def test_png_arrives_exactly(
    tmp_path: Path, av_format: str, shape: tuple[int, ...], dtype: str, pixel_format: str
) -> None:
    stored = noise(*shape, dtype=dtype)
    write_png(tmp_path / "a.png", stored, av_format)
    with opened(tmp_path, lossless=True) as camera:
        spec = camera.describe()
        ((_, found),) = shots(camera)
    assert (spec.dtype, spec.pixel_format) == (np.dtype(dtype), pixel_format)
    np.testing.assert_array_equal(found, stored[..., :3] if len(shape) == 3 else stored)


GRAY, RGB = (7, 37, 53), (7, 37, 53, 3)
TIFFS = [
    (shape, dtype, how)
    for shape in (GRAY, RGB)
    for dtype in ("u1", "u2", "f4")
    for how in (
        {},
        {"compression": "zlib"},
        {"byteorder": ">"},
        {"bigtiff": True},
        {"metadata": None},
        *([{"imagej": True}] if shape == GRAY or dtype == "u1" else []),
        *([{"planarconfig": "separate"}] if shape == RGB else []),
    )
]


@pytest.mark.parametrize(("shape", "dtype", "how"), TIFFS, ids=str)
def test_tiff_arrives_exactly(
    tmp_path: Path, dtype: str, shape: tuple[int, ...], how: dict[str, Any]
) -> None:
    stored = noise(*shape, dtype=dtype)
    color = len(shape) == 4
    written = np.moveaxis(stored, -1, 1) if "planarconfig" in how else stored
    tifffile.imwrite(
        tmp_path / "a.tif", written, photometric="rgb" if color else "minisblack", **how
    )
    np.testing.assert_array_equal(pictures(tmp_path / "a.tif"), stored)
    np.testing.assert_array_equal(pictures(tmp_path / "a.tif", preload=True), stored)


def test_jpeg_arrives_as_libjpeg_decodes_it(tmp_path: Path) -> None:
    gray, rgb = noise(32, 48, 1), noise(32, 48, 3)
    for name, picture, space in (("gray", gray, "GRAY"), ("rgb", rgb, "RGB")):
        content = simplejpeg.encode_jpeg(picture, colorspace=space)
        (tmp_path / f"{name}.jpg").write_bytes(content)
        (found,) = pictures(tmp_path / f"{name}.jpg")
        expected = simplejpeg.decode_jpeg(content, colorspace=space)
        np.testing.assert_array_equal(found, expected if space == "RGB" else expected[..., 0])


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_colour_becomes_gray_and_gray_colour_on_request(tmp_path: Path, dtype: str) -> None:
    rgb = noise(7, 16, 24, 3, dtype=dtype)
    tifffile.imwrite(tmp_path / "rgb.tif", rgb, photometric="rgb")
    luma = 0.299 * rgb[..., 0] + 0.587 * rgb[..., 1] + 0.114 * rgb[..., 2].astype("f8")
    found = pictures(tmp_path / "rgb.tif", color=False)
    np.testing.assert_allclose(found, luma, atol=1e-6 if dtype == "f4" else 0.5001)

    gray = rgb[..., 0]
    tifffile.imwrite(tmp_path / "gray.tif", gray, photometric="minisblack")
    threefold = np.repeat(gray[..., None], 3, axis=3)
    np.testing.assert_array_equal(pictures(tmp_path / "gray.tif", color=True), threefold)
    tifffile.imwrite(tmp_path / "threefold.tif", threefold, photometric="rgb")
    back = pictures(tmp_path / "threefold.tif", color=False)
    np.testing.assert_allclose(back, gray, rtol=1e-6 if dtype == "f4" else 0)


def test_files_come_in_natural_order_and_stacks_page_by_page(tmp_path: Path) -> None:
    for number in (1, 2, 10, 11, 100):
        tifffile.imwrite(tmp_path / f"im{number}.tif", np.full((8, 8), number, "u1"))
    tifffile.imwrite(
        tmp_path / "im20.tif",
        np.stack([np.full((8, 8), n, "u1") for n in (20, 21, 22)]),
        photometric="minisblack",
    )
    (tmp_path / "notes.txt").write_text("not a picture")
    values = [int(picture[0, 0]) for picture in pictures(tmp_path)]
    assert values == [1, 2, 10, 11, 20, 21, 22, 100]


# ------------------------------------------------------------------ time


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    """Ten pages, each full of its own number."""
    pages = np.stack([np.full((8, 8), n, "u1") for n in range(10)])
    tifffile.imwrite(tmp_path / "stack.tif", pages, photometric="minisblack")
    return tmp_path / "stack.tif"


@pytest.mark.parametrize("preload", [False, True])
def test_a_loop_goes_on_in_number_and_time(stack: Path, preload: bool) -> None:
    with opened(stack, loop=True, lossless=True, preload=preload, rate=1000) as camera:
        taken = [shot for _, shot in zip(range(25), shots(camera), strict=False)]
    assert [int(picture[0, 0]) for _, picture in taken] == [n % 10 for n in range(25)]
    assert [stamp.device_frame for stamp, _ in taken] == list(range(25))
    assert [stamp.device_time for stamp, _ in taken] == [n * 1_000_000 for n in range(25)]


@pytest.mark.parametrize("preload", [False, True])
def test_no_picture_is_shown_before_its_time(stack: Path, preload: bool) -> None:
    with opened(stack, rate=100, preload=preload) as camera:
        begun = time.monotonic()
        assert len(list(shots(camera))) == 10
        assert time.monotonic() - begun >= 0.09


def test_grab_returns_while_a_picture_is_not_due_and_a_new_rate_holds_at_once(stack: Path) -> None:
    with opened(stack, rate=0.1) as camera:
        out = np.empty((8, 8), "u1")
        assert camera.grab(out) == Stamp(device_frame=0, device_time=0)
        assert camera.grab(out) is None
        camera.rate = 1000
        camera.changed({"rate"})
        assert camera.grab(out) == Stamp(device_frame=1, device_time=10_000_000_000)
        stamp = None
        while stamp is None:
            stamp = camera.grab(out)
        assert stamp == Stamp(device_frame=2, device_time=10_001_000_000)


@pytest.mark.parametrize("preload", [False, True])
@pytest.mark.parametrize("lossless", [False, True])
def test_blocks_hold_every_picture_once(stack: Path, preload: bool, lossless: bool) -> None:
    out, stamps = np.empty((4, 8, 8), "u1"), np.zeros(4, STAMP)
    seen: list[int] = []
    counts = []
    with opened(stack, rate=200_000, preload=preload, lossless=lossless) as camera:
        while len(seen) < 10:
            counts.append(camera.grab_block(out, stamps))
            filled = stamps[: counts[-1]]
            assert filled["device_frame"].tolist() == out[: len(filled), 0, 0].tolist()
            assert np.all(filled["host_time"] > 0)
            assert np.all(filled["mono_time"] > 0)
            seen += filled["device_frame"].tolist()
        with pytest.raises(EndOfStream):
            camera.grab_block(out, stamps)
    assert seen == list(range(10))
    if preload and lossless:
        assert counts == [4, 4, 2]


def test_a_block_crosses_the_end_of_a_loop(stack: Path) -> None:
    out, stamps = np.empty((16, 8, 8), "u1"), np.zeros(16, STAMP)
    with opened(stack, loop=True, preload=True, lossless=True) as camera:
        for start in (0, 16):
            assert camera.grab_block(out, stamps) == 16
            assert out[:, 0, 0].tolist() == [n % 10 for n in range(start, start + 16)]


# ------------------------------------------------------------------ errors


def nothing(folder: Path) -> None:
    folder.rmdir()


def no_pictures(folder: Path) -> None:
    (folder / "notes.txt").touch()


def another_size(folder: Path) -> None:
    write_png(folder / "1.png", noise(8, 8), "gray")
    write_png(folder / "2.png", noise(8, 9), "gray")


def another_type(folder: Path) -> None:
    write_png(folder / "1.png", noise(8, 8), "gray")
    write_png(folder / "2.png", noise(8, 8, dtype="u2"), "gray16be")


def pages_of_two_sizes(folder: Path) -> None:
    with tifffile.TiffWriter(folder / "1.tif") as writer:
        for side in (8, 8, 16):
            writer.write(noise(side, side), photometric="minisblack")


def half_a_png(folder: Path) -> None:
    path = write_png(folder / "1.png", noise(64, 64), "gray")
    os.truncate(path, path.stat().st_size // 2)


def a_wrong_bit(folder: Path) -> None:
    path = write_png(folder / "1.png", noise(64, 64), "gray")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def half_a_jpeg(folder: Path) -> None:
    (folder / "1.jpg").write_bytes(simplejpeg.encode_jpeg(noise(64, 64, 3))[:-500])


def an_empty_file(folder: Path) -> None:
    (folder / "1.png").touch()


def half_a_tiff(folder: Path) -> None:
    tifffile.imwrite(folder / "1.tif", noise(9, 64, 64), photometric="minisblack")
    os.truncate(folder / "1.tif", 64 * 64 * 5)


def half_an_imagej_tiff(folder: Path) -> None:
    tifffile.imwrite(folder / "1.tif", noise(9, 64, 64), imagej=True)
    os.truncate(folder / "1.tif", 64 * 64 * 5)


def half_a_compressed_tiff(folder: Path) -> None:
    tifffile.imwrite(folder / "1.tif", noise(9, 64, 64), compression="zlib", metadata=None)
    os.truncate(folder / "1.tif", 64 * 64 * 5)


def a_text_named_tiff(folder: Path) -> None:
    (folder / "1.tif").write_text("not a picture")


def integers_with_sign(folder: Path) -> None:
    tifffile.imwrite(folder / "1.tif", noise(9, 8, 8).astype("i2"), photometric="minisblack")


@pytest.mark.parametrize("preload", [False, True])
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (nothing, "there is no such file or folder"),
        (no_pictures, r"holds no picture \(.png, "),
        (another_size, "2.png: .*found 9 x 8 pixels gray uint8, expected 8 x 8 pixels gray uint8"),
        (another_type, "2.png: .*found 8 x 8 pixels gray uint16, expected .* uint8"),
        (pages_of_two_sizes, "found 16 x 16 pixels gray uint8, expected 8 x 8 pixels"),
        (half_a_png, "1.png: cannot be read: Invalid data"),
        (a_wrong_bit, "cannot be read: "),
        (half_a_jpeg, "cannot be read: Premature end of JPEG file"),
        (an_empty_file, "cannot be read: it holds no picture"),
        (half_a_tiff, "cannot be read: "),
        (half_an_imagej_tiff, "cannot be read: damaged or cut off: "),
        (half_a_compressed_tiff, "cannot be read: "),
        (a_text_named_tiff, "cannot be read: not a TIFF file"),
        (integers_with_sign, "found pixels of type int16, expected uint8, uint16 or float32"),
    ],
)
def test_what_cannot_be_shown_says_why(
    tmp_path: Path, make: Callable[[Path], None], reason: str, preload: bool
) -> None:
    folder = tmp_path / "film"
    folder.mkdir()
    make(folder)
    with pytest.raises(NodeError, match=reason) as caught:
        pictures(folder, preload=preload)
    assert str(caught.value).startswith(f"Images: path '{folder}': ")
    assert "\n" not in str(caught.value)


def test_a_file_that_vanishes_is_named(tmp_path: Path) -> None:
    for number in range(3):
        write_png(tmp_path / f"{number}.png", noise(8, 8), "gray")
    with opened(tmp_path, lossless=True) as camera:
        (tmp_path / "2.png").unlink()
        shown = shots(camera)
        next(shown)
        next(shown)
        with pytest.raises(NodeError, match=r"2\.png: cannot be read: No such file"):
            next(shown)


def test_a_compression_that_needs_a_library_says_how_to_install_it(tmp_path: Path) -> None:
    if importlib.util.find_spec("imagecodecs"):
        pytest.skip("imagecodecs is installed")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise(8, 8))
    content = path.read_bytes()
    # The tag Compression (259), SHORT, one value: 1 (none) becomes 5 (LZW).
    entry = b"\x03\x01\x03\x00\x01\x00\x00\x00"
    assert content.count(entry + b"\x01\x00") == 1
    path.write_bytes(content.replace(entry + b"\x01\x00", entry + b"\x05\x00"))
    with pytest.raises(DriverMissing, match="pip install imagecodecs"):
        pictures(path)


def test_what_does_not_fit_into_memory_is_refused_with_the_numbers(tmp_path: Path) -> None:
    # A sparse file of 256 MiB under 4,096 names: 1 TiB to load.
    path = tmp_path / "huge.tif"
    tifffile.imwrite(path, shape=(1 << 14, 1 << 14), dtype="u1", photometric="minisblack")
    for number in range(1 << 12):
        (tmp_path / f"{number}.tif").symlink_to(path)
    with pytest.raises(NodeError, match=r"preload: found .* MiB of pictures, expected at most"):
        Images(path=str(tmp_path), preload=True).open()


def test_a_camera_can_be_closed_at_any_time_and_opened_again(stack: Path) -> None:
    camera = Images(path=str(stack), lossless=True)
    camera.close()
    for _ in range(2):
        camera.open()
        assert len(list(shots(camera))) == 10
        camera.close()
        camera.close()


@pytest.mark.parametrize(
    "settings", [{"path": ""}, {"rate": 0.05}, {"rate": 300_000}, {"rate": "fast"}, {"block": 0}]
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(settings))):
        Images(**{"path": "x"} | settings)
