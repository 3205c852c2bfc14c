"""Decoded pictures of FFmpeg as plain arrays: gray or RGB, 8 or up to 16 bits."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import av
import numpy as np
from av.video.reformatter import VideoReformatter

_WIDE_GRAY = (10, 12, 14)
"""Depths between 8 and 16 bits that both FFmpeg (`gray10le`) and PFNC (`Mono10`) know."""

_FULL_RANGE = 2
"""AVCOL_RANGE_JPEG of FFmpeg: luma from 0 to the greatest value, not 16 to 235."""


class Layout(NamedTuple):
    """How a picture lies in memory.

    Attributes:
        shape: (height, width) or (height, width, 3).
        dtype: u8 or u16; values of 10, 12 and 14 bits keep their numbers (0-1023 ...).
        pixel_format: PFNC name, e.g. `Mono8`, `Mono12`, `RGB8`.
        av_format: FFmpeg's name of the same.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    pixel_format: str
    av_format: str


def layout(frame: av.VideoFrame, color: bool, wide_color: bool = False) -> Layout:
    """The layout in which a decoded frame is published.

    Args:
        frame: as decoded.
        color: RGB, otherwise gray.
        wide_color: RGB of more than 8 bits as `RGB16` instead of `RGB8`.
    """
    bits = frame.format.components[0].bits
    if color:
        shape: tuple[int, ...] = (frame.height, frame.width, 3)
        if wide_color and bits > 8:
            return Layout(shape, np.dtype("u2"), "RGB16", "rgb48le")
        return Layout(shape, np.dtype("u1"), "RGB8", "rgb24")
    shape = (frame.height, frame.width)
    if bits <= 8:
        return Layout(shape, np.dtype("u1"), "Mono8", "gray")
    depth = bits if bits in _WIDE_GRAY else 16
    return Layout(shape, np.dtype("u2"), f"Mono{depth}", f"gray{depth}le")


class Pixels:
    """Writes decoded frames into memory that was lent.

    Gray is the luma, spread over the full range: black is 0 and white 255 (or 1023 ... 65535).
    Where a codec stores it so already (gray, MJPEG, full-range video), the plane is copied as it
    is; anything else, such as the limited range 16-235 of broadcast video, goes through
    swscale, whose result is the same for these (measured on 640x360: 6 us against 90 us).
    """

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def write(self, frame: av.VideoFrame, target: Layout, out: np.ndarray[Any, Any]) -> None:
        """Write `frame` to the beginning of `out`, in its own shape where that is smaller.

        Args:
            frame: as decoded.
            target: what `layout` gave for this frame.
            out: C-contiguous memory of `target.dtype` for at least `target.shape`.
        """
        if not _is_plain_luma(frame, target):
            # One thread: starting more costs longer than they save, up to 4 megapixels.
            frame = self._reformatter.reformat(frame, format=target.av_format, threads=1)
        plane = frame.planes[0]
        height = target.shape[0]
        bytes_a_row = prod(target.shape[1:]) * target.dtype.itemsize
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[
            :height, :bytes_a_row
        ]
        item = out.reshape(-1)[: prod(target.shape)].reshape(height, -1)
        np.copyto(item, rows.view(target.dtype))


def _is_plain_luma(frame: av.VideoFrame, target: Layout) -> bool:
    """Whether the first plane holds exactly the gray picture that is wanted."""
    name = frame.format.name
    if name == target.av_format:
        return True
    first = frame.format.components[0]
    full = name.startswith("yuvj") or frame.color_range == _FULL_RANGE
    planar = name.startswith(("yuv", "nv12")) and frame.format.is_planar
    return full and planar and target.av_format == "gray" and first.bits == 8
