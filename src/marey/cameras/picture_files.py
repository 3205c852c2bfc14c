"""Pictures in files: a folder of PNG, JPEG, BMP and TIFF files, or one of them."""

from __future__ import annotations

import logging
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
import simplejpeg
import tifffile

from marey.cameras.pixels import Pixels, layout
from marey.errors import DriverMissing, NodeError

Array = np.ndarray[Any, Any]

DTYPES = (np.dtype("u1"), np.dtype("u2"), np.dtype("f4"))
"""What a pixel may be."""


class PictureFiles:
    """The pictures of a folder in natural order of its files' names, or those of one file.

    A multi-page TIFF gives one picture for each page. Pixels arrive exactly as they are stored,
    in the byte order of this machine; an alpha channel is left out. All pictures must be of the
    shape and type of the first.
    """

    def __init__(self, path: str, color: bool | None, label: str) -> None:
        """Look for the files; none is read yet.

        Args:
            path: a folder or a file.
            color: False makes gray of RGB (luma of ITU-R BT.601), True RGB of gray, None neither.
            label: node and path, with which messages begin.

        Raises:
            NodeError: there is no such folder or file, or it holds no picture.
        """
        self.label = label
        self._color = color
        place = Path(path).expanduser()
        self._is_folder = place.is_dir()
        if self._is_folder:
            found = (file for file in place.iterdir() if file.suffix.lower() in _READERS)
            self.files = sorted(found, key=_natural)
            if not self.files:
                raise NodeError(f"{label}: holds no picture ({', '.join(_READERS)})")
        elif place.is_file():
            if place.suffix.lower() not in _READERS:
                raise NodeError(
                    f"{label}: found a {place.suffix or 'nameless'} file, "
                    f"expected one of {', '.join(_READERS)}, or a folder of such files"
                )
            self.files = [place]
        else:
            raise NodeError(f"{label}: there is no such file or folder")

    def __iter__(self) -> Iterator[Array]:
        """Read one picture after the other.

        Yields:
            (height, width) or (height, width, 3) arrays of u8, u16 or f32, not to be written to.

        Raises:
            NodeError: a file is missing, damaged, or unlike the first; the message names it.
            DriverMissing: its compression needs a library that is not installed.
        """
        like: Array | None = None
        for file in self.files:
            with self._naming(file):
                for picture in _READERS[file.suffix.lower()](file):
                    picture = self._colored(_checked(picture))
                    if like is None:
                        like = picture
                    if (picture.shape, picture.dtype) != (like.shape, like.dtype):
                        raise ValueError(
                            f"found {_size(picture)}, expected {_size(like)} as in the first one"
                        )
                    yield picture
        if like is None:
            raise NodeError(f"{self.label}: holds no picture")

    @contextmanager
    def _naming(self, file: Path) -> Iterator[None]:
        """Say of which file an error speaks."""
        place = f"{self.label}: {file.name}" if self._is_folder else self.label
        try:
            yield
        except (OSError, av.error.FFmpegError, ValueError, zlib.error) as error:
            if "imagecodecs" in str(error):
                raise DriverMissing(
                    f"{place}: this compression needs imagecodecs: pip install imagecodecs"
                ) from error
            reason = getattr(error, "strerror", None) or str(error)
            raise NodeError(f"{place}: cannot be read: {reason}") from error

    def _colored(self, picture: Array) -> Array:
        if self._color is True and picture.ndim == 2:
            return np.repeat(picture[..., None], 3, axis=2)
        if self._color is False and picture.ndim == 3:
            return _luma(picture)
        return picture


def _natural(file: Path) -> list[tuple[int, int, str]]:
    """A key by which `2.png` comes before `10.png`."""
    pieces = re.split(r"(\d+)", file.name)
    return [(0, int(p), p) if p.isdecimal() else (1, 0, p) for p in pieces if p]


def _size(picture: Array) -> str:
    height, width = picture.shape[:2]
    return f"{width} x {height} pixels {'RGB' if picture.ndim == 3 else 'gray'} {picture.dtype}"


def _checked(picture: Array) -> Array:
    """The picture without alpha, in the byte order of this machine."""
    if picture.dtype.newbyteorder("=") not in DTYPES:
        raise ValueError(f"found pixels of type {picture.dtype}, expected uint8, uint16 or float32")
    if picture.ndim == 3 and picture.shape[2] in (1, 2):
        picture = picture[..., 0]
    if picture.ndim == 3 and picture.shape[2] == 4:
        picture = picture[..., :3]
    if picture.ndim != 2 and (picture.ndim != 3 or picture.shape[2] != 3):
        raise ValueError(f"found an array of shape {picture.shape}, expected gray or RGB")
    return picture.astype(picture.dtype.newbyteorder("="), copy=False)


def _luma(rgb: Array) -> Array:
    """Gray of RGB: 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601-7, 2.5.1); gray remains unchanged."""
    if rgb.dtype.kind == "f":
        return np.asarray(rgb @ np.array([0.299, 0.587, 0.114]), rgb.dtype)
    total: Array = rgb.astype(np.uint32) @ np.array([299, 587, 114], np.uint32)
    return np.asarray((total + 500) // 1000, rgb.dtype)


def _jpeg(file: Path) -> Iterator[Array]:
    content = file.read_bytes()
    gray = simplejpeg.decode_jpeg_header(content)[2] == "Gray"
    yield simplejpeg.decode_jpeg(content, colorspace="GRAY" if gray else "RGB")


def _decoded(codec: str) -> Callable[[Path], Iterator[Array]]:
    """A reader of files that hold one picture of this codec of FFmpeg."""

    def read(file: Path) -> Iterator[Array]:
        decoder = av.CodecContext.create(codec, "r")
        assert isinstance(decoder, av.VideoCodecContext)
        decoder.thread_count = 1
        decoder.options = {"err_detect": "crccheck+explode"}
        frames = decoder.decode(av.Packet(file.read_bytes()))
        if len(frames) != 1:
            raise ValueError("it holds no picture")
        frame = frames[0]
        color = frame.format.is_rgb or frame.format.has_palette
        target = layout(frame, color, wide_color=True)
        picture = np.empty(target.shape, target.dtype)
        Pixels().write(frame, target, picture)
        yield picture

    return read


def _tiff(file: Path) -> Iterator[Array]:
    with _complaints() as complaints, tifffile.TiffFile(file) as tiff:
        for series in tiff.series:
            for picture in _pages(series):
                if complaints:
                    raise ValueError(f"damaged or cut off: {complaints[0]}")
                yield picture


def _pages(series: tifffile.TiffPageSeries) -> Iterator[Array]:
    """The pictures of one size in a TIFF."""
    if series.keyframe.photometric == tifffile.PHOTOMETRIC.PALETTE:
        raise ValueError("found a palette of colours, expected gray or RGB")
    if series.dataoffset is not None:
        # Not compressed and in one piece: a view of the file.
        dims = 3 if "S" in series.axes[-3:] else 2
        stack = series.asarray(out="memmap").reshape(-1, *series.shape[-dims:])
        yield from map(_channels_last(series.axes), stack)
        return
    for page in series.pages:
        if page is None:
            raise ValueError("a page is missing")
        yield _channels_last(page.axes)(page.asarray())


def _channels_last(axes: str) -> Callable[[Array], Array]:
    """What turns a picture into (height, width, channels); planar files have channels first."""
    if axes.endswith("SYX"):
        return lambda picture: np.moveaxis(picture, 0, -1)
    return lambda picture: picture


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """What tifffile logs as errors: it reads a file that was cut off as far as that goes."""
    found: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    listener = Listener(logging.ERROR)
    logger = logging.getLogger("tifffile")
    logger.addHandler(listener)
    try:
        yield found
    finally:
        logger.removeHandler(listener)


_READERS: dict[str, Callable[[Path], Iterator[Array]]] = {
    ".png": _decoded("png"),
    ".bmp": _decoded("bmp"),
    ".jpg": _jpeg,
    ".jpeg": _jpeg,
    ".tif": _tiff,
    ".tiff": _tiff,
}
