"""What a stream carries: the greatest shape of an item, its type, and what the numbers mean."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf, prod
from operator import index
from typing import Any

import numpy as np

from marey.errors import StreamError

MAX_DIMS = 4
"""An item has at most this many dimensions, e.g. (height, width, channels)."""

STAMP = np.dtype(
    [
        ("seq", "u8"),
        ("source_seq", "u8"),
        ("device_frame", "u8"),
        ("device_time", "i8"),
        ("host_time", "i8"),
        ("mono_time", "i8"),
        ("published", "i8"),
    ]
)
"""Stamps of an item as they stand in shared memory and in recordings; times in ns."""

UNKNOWN = 2**64 - 1
"""`device_frame` or `source_seq` of an item that has none."""

UNKNOWN_TIME = -(2**63)
"""`device_time` of an item whose device tells no time."""


@dataclass(frozen=True)
class Spec:
    """The description of a stream, written into its header.

    Attributes:
        shape: the greatest shape of one item; frames are (height, width) or (height, width, 3),
            results are (greatest number of rows,). At most `MAX_DIMS` dimensions.
        dtype: type of one element; a structured dtype for rows of results, its fields packed (as
            `np.dtype([("x", "f4"), ("y", "f4")])` makes them) and plain, without objects.
        rate: nominal items per second, 0 where unknown. Turns a buffer in seconds into slots.
        pixel_format: PFNC name of the pixels (`Mono8`, `Mono16`, `RGB8` ...), empty for rows.
        fields: for rows, the unit and meaning of each field: `{"z": "nm, above focus"}`.
        meta: anything else that readers should know, as JSON values (class names, nm_per_px ...).
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    rate: float = 0.0
    pixel_format: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            shape, dtype = tuple(index(n) for n in self.shape), np.dtype(self.dtype)
        except TypeError as error:
            raise StreamError(
                f"item: found shape {self.shape!r} and dtype {self.dtype!r}, expected whole "
                "numbers and a NumPy dtype"
            ) from error
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "dtype", dtype)
        if not 1 <= len(shape) <= MAX_DIMS or min(shape) < 1:
            raise StreamError(
                f"shape of an item: found {shape}, expected 1 to {MAX_DIMS} positive lengths"
            )
        if dtype.itemsize == 0 or not _is_plain(dtype):
            raise StreamError(
                f"dtype of an item: found {dtype}, expected numbers or packed fields of numbers"
            )
        if not 0 <= self.rate < inf:
            raise StreamError(f"rate: found {self.rate}, expected items per second, 0 if unknown")

    @property
    def nbytes(self) -> int:
        """Bytes of the greatest item."""
        return prod(self.shape) * self.dtype.itemsize

    @property
    def is_rows(self) -> bool:
        """Whether items are rows of results rather than pictures."""
        return self.dtype.names is not None

    def to_json(self) -> str:
        """The description as JSON, as it stands in the segment's header and in recordings.

        Raises:
            StreamError: `fields` or `meta` hold what JSON has no word for.
        """
        try:
            return json.dumps(
                {
                    "shape": self.shape,
                    "dtype": _describe(self.dtype),
                    "rate": self.rate,
                    "pixel_format": self.pixel_format,
                    "fields": dict(self.fields),
                    "meta": dict(self.meta),
                },
                allow_nan=False,
            )
        except (TypeError, ValueError) as error:
            raise StreamError(f"description of a stream: {error}, expected JSON values") from error

    @classmethod
    def from_json(cls, text: str | bytes) -> Spec:
        """Read what `to_json` wrote.

        Raises:
            StreamError: the text is not such a description.
        """
        try:
            found = json.loads(text)
            return cls(
                tuple(found["shape"]),
                _restore(found["dtype"]),
                float(found["rate"]),
                str(found["pixel_format"]),
                dict(found["fields"]),
                dict(found["meta"]),
            )
        except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
            raise StreamError(f"description of a stream: cannot be read ({error})") from error


_PLAIN = re.compile(r"[<>|][biufcmMSUV][1-9]\d{0,8}(\[\d*[a-zA-Z]+\])?")


def _describe(dtype: np.dtype[Any]) -> Any:
    """A dtype as JSON: its `str`, or for fields a list of [name, dtype] or [name, dtype, shape]."""
    if dtype.names is None:
        return dtype.str
    columns = [(name, dtype[name]) for name in dtype.names]
    return [
        [name, _describe(column.base), *([list(column.shape)] if column.shape else [])]
        for name, column in columns
    ]


def _restore(found: Any) -> np.dtype[Any]:
    """The dtype that `_describe` described.

    Raises:
        ValueError, TypeError: it described none.
    """
    if isinstance(found, str):
        if not _PLAIN.fullmatch(found):
            raise ValueError(f"dtype {found!r}")
        return np.dtype(found)
    columns = []
    for name, column, *shape in found:
        columns.append((str(name), _restore(column), *(tuple(lengths) for lengths in shape)))
    return np.dtype(columns)


def _is_plain(dtype: np.dtype[Any]) -> bool:
    """Whether another program finds each element where the description says it is."""
    try:
        return _restore(_describe(dtype)) == dtype
    except (ValueError, TypeError):
        return False
