"""Frames on their way to a browser: fewer pixels, eight bits, raw or JPEG."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from marey.errors import StreamError
from marey.stream import Spec

AUTO = (0.1, 99.9)
"""Percentiles of the pixels that automatic contrast limits lie at."""

_SAMPLE = 1 << 16  # pixels that are looked at for percentiles and histograms
_BINS = 256

Format = Literal["raw", "jpeg"]


@dataclass(frozen=True)
class Picture:
    """A frame as it is sent.

    Attributes:
        body: rows of 8-bit pixels without padding, or a JPEG file.
        step: image pixels for each pixel sent, in both directions.
        lo: value of the pixels that are sent as 0, and below.
        hi: value of the pixels that are sent as 255, and above.
    """

    body: bytes
    step: int
    lo: float
    hi: float


def check_showable(data: NDArray[Any]) -> None:
    """Refuse what is no picture.

    Raises:
        StreamError: neither (height, width) nor (height, width, 3), or no real numbers.
    """
    shape, kind = data.shape, data.dtype.kind
    if not (len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3))) or 0 in shape:
        raise StreamError(f"found items of shape {shape}, expected (height, width) or (.., .., 3)")
    if kind not in "buif":
        raise StreamError(f"found pixels of type {data.dtype}, expected real numbers")


def reduce(data: NDArray[Any], width: int | None) -> tuple[NDArray[Any], int]:
    """Every n-th pixel, so that about `width` columns remain; also returns n.

    The pixel in the middle of each n × n field is taken, so that nothing is shifted on the screen.
    """
    step = max(1, data.shape[1] // width) if width else 1
    step = min(step, data.shape[0], data.shape[1])
    return data[step // 2 :: step, step // 2 :: step], step


def auto_limits(data: NDArray[Any]) -> tuple[float, float]:
    """Contrast limits at the percentiles `AUTO` of a sample of the pixels; lo < hi always."""
    sample = _sample(data)
    if sample.size == 0:
        return 0.0, 1.0
    lo, hi = (float(v) for v in np.percentile(sample, AUTO))
    return (lo, hi) if hi > lo else (lo, lo + 1.0)


def to_bytes(data: NDArray[Any], lo: float, hi: float) -> NDArray[np.uint8]:
    """Map lo..hi to 0..255, values beyond to the ends, NaN to 0."""
    scale = 255.0 / (hi - lo)
    if data.dtype in (np.dtype("u1"), np.dtype("u2")):
        # A table is several times faster than arithmetic on each pixel.
        values = np.arange(np.iinfo(data.dtype).max + 1, dtype=np.float64)
        table = np.clip((values - lo) * scale + 0.5, 0, 255).astype(np.uint8)
        return np.asarray(table[data])
    real: NDArray[Any] = data.astype(np.float64 if data.dtype.itemsize > 4 else np.float32)
    mapped = np.clip((real - lo) * scale + 0.5, 0, 255)
    return np.asarray(np.nan_to_num(mapped, copy=False).astype(np.uint8))


def render(
    data: NDArray[Any],
    width: int | None = None,
    form: Format = "raw",
    lo: float | None = None,
    hi: float | None = None,
    quality: int = 85,
) -> Picture:
    """Make of a frame what is sent of it.

    8-bit frames are sent as they are unless limits are given; others need limits and are given
    automatic ones where they are left out.

    Args:
        data: (height, width) or (height, width, 3) pixels of any real type.
        width: the greatest useful number of columns; None sends all.
        lo: value sent as 0.
        hi: value sent as 255.
        quality: of the JPEG, 1 to 100.

    Raises:
        StreamError: the item is no picture.
    """
    check_showable(data)
    if data.ndim == 3 and data.shape[2] == 1:
        data = data[:, :, 0]
    few, step = reduce(data, width)
    if data.dtype == np.uint8 and lo is None and hi is None:
        lo, hi = 0.0, 255.0
        pixels = np.ascontiguousarray(few)
    else:
        if lo is None or hi is None:
            found = auto_limits(few)
            lo = found[0] if lo is None else lo
            hi = found[1] if hi is None else hi
        hi = hi if hi > lo else lo + 1.0
        pixels = np.ascontiguousarray(to_bytes(few, lo, hi))
    if form == "jpeg":
        gray = pixels.ndim == 2
        body = simplejpeg.encode_jpeg(
            pixels[:, :, None] if gray else pixels,
            quality=quality,
            colorspace="GRAY" if gray else "RGB",
            **({} if gray else {"colorsubsampling": "444"}),
        )
    else:
        body = pixels.tobytes()
    return Picture(body, step, lo, hi)


def histogram(data: NDArray[Any], spec: Spec) -> dict[str, Any]:
    """How often which values occur, in a sample of the pixels.

    Returns:
        `lo` and `hi`: the range of values, that of the pixel format for whole numbers;
        `counts`: for 256 equal parts of it; `auto`: limits that `auto_limits` would choose.
    """
    check_showable(data)
    sample = _sample(data)
    lo, hi = _value_range(sample, data.dtype, spec.pixel_format)
    # Whole numbers are centred in their bins.
    half = 0.5 if data.dtype.kind in "bui" else 0.0
    counts, _ = np.histogram(sample, bins=_BINS, range=(lo - half, hi + half))
    return {"lo": lo, "hi": hi, "counts": counts.tolist(), "auto": list(auto_limits(data))}


def _sample(data: NDArray[Any]) -> NDArray[Any]:
    step = max(1, int(np.sqrt(data.size / _SAMPLE)))
    few = data[::step, ::step]
    if few.dtype.kind == "f":
        return np.asarray(few[np.isfinite(few)])
    return np.asarray(few.view(np.uint8) if few.dtype.kind == "b" else few).ravel()


def _value_range(sample: NDArray[Any], dtype: np.dtype[Any], name: str) -> tuple[float, float]:
    if dtype.kind == "b":
        return 0.0, 1.0
    if dtype == np.uint8:
        return 0.0, 255.0
    if dtype.kind == "u" and dtype.itemsize == 2:
        return 0.0, float(2 ** _bits(name, sample) - 1)
    if sample.size == 0:
        return 0.0, 1.0
    lo, hi = float(sample.min()), float(sample.max())
    return (lo, hi) if hi > lo else (lo, lo + 1.0)


def _bits(name: str, sample: NDArray[Any]) -> int:
    """Significant bits: what the PFNC name says (Mono12), unless 16, said of any camera."""
    told = re.search(r"(\d+)", name)
    most = int(sample.max()) if sample.size else 0
    needed = max(8, most.bit_length())
    return max(int(told[1]), needed) if told and int(told[1]) < 16 else needed
