"""Pictures that carry a number in blocks large enough to survive lossy compression."""

from __future__ import annotations

from typing import Any

import numpy as np

BITS = 16
BLOCK = 16
SHAPE = (4 * BLOCK, BITS * BLOCK)
"""Height and width of a picture."""


def draw(number: int) -> np.ndarray[Any, Any]:
    """A gray picture: row 1 holds `number` in binary, row 2 its complement, the rest is gray.

    It is grainy, so that codecs do not make it smaller than any real picture.
    """
    bits = (number >> np.arange(BITS)) & 1
    rows = np.stack([np.full(BITS, 128), 40 + 176 * bits, 216 - 176 * bits, np.full(BITS, 128)])
    grain = np.random.default_rng(number).integers(-30, 31, SHAPE)
    return (np.kron(rows, np.ones((BLOCK, BLOCK))) + grain).astype(np.uint8)


def read(picture: np.ndarray[Any, Any]) -> int:
    """The number in a picture that `draw` made, whatever a codec has done to it.

    Raises:
        ValueError: the picture holds none, or a torn one.
    """
    gray = picture if picture.ndim == 2 else picture.mean(axis=2)
    blocks = gray.reshape(4, BLOCK, BITS, BLOCK).mean(axis=(1, 3))
    bits, complement = blocks[1] > 128, blocks[2] > 128
    if np.any(bits == complement) or np.abs(blocks[1:3] - 128).min() < 40:
        raise ValueError(f"no number in this picture: rows {blocks[1:3].round().tolist()}")
    return int(np.sum(bits << np.arange(BITS)))
