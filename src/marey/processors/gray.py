"""Gray pixels of any camera's frame, and how bright they can be."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marey import _native
from marey.errors import SettingError
from marey.node import Processor
from marey.stream import Spec

KERNEL_TYPES = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float32))
"""Types of pixels that the native kernels take as they are."""


def require_frames(node: Processor, source: Spec) -> None:
    """Refuse a source that does not carry pictures.

    Raises:
        SettingError: it has rows.
    """
    if source.is_rows or len(source.shape) < 2:
        found = "rows" if source.is_rows else f"items of shape {source.shape}"
        raise SettingError(f"{node.name}.source: '{node.source}' has {found}, expected frames")


def gray(image: NDArray[Any]) -> NDArray[Any]:
    """The image as (height, width) of u8, u16 or f32, without a copy where it is that already.

    Colour (height, width, 3) becomes luma (ITU-R BT.601); other types of pixels become f32.

    Raises:
        ValueError: the image has another shape.
    """
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
        raise ValueError(
            f"image: found shape {image.shape}, expected (height, width) or (height, width, 3)"
        )
    if image.dtype not in KERNEL_TYPES:
        image = image.astype(np.float32)
    if image.ndim == 2:
        return image
    out = np.empty(image.shape[:2], image.dtype)
    _native.luma(np.ascontiguousarray(image), out)
    return out


def full_scale(source: Spec) -> float:
    """The greatest value that a pixel can have; 0 where there is none.

    The number in a PFNC name is the number of bits: `Mono12` reaches 4095 in 16 bits.
    """
    if source.dtype.kind != "u":
        return 0.0
    bits = re.match(r"(?:Mono|RGB|BGR)(\d+)", source.pixel_format)
    greatest = float(np.iinfo(source.dtype).max)
    return min(greatest, 2.0 ** int(bits[1]) - 1) if bits else greatest
