"""What a stream carries: the greatest shape of an item, its type, and what the numbers mean."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
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
        dtype: type of one element; a structured dtype for rows of results.
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
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        object.__setattr__(self, "dtype", np.dtype(self.dtype))
        if not 1 <= len(self.shape) <= MAX_DIMS or min(self.shape) < 1:
            raise StreamError(
                f"shape of an item: found {self.shape}, expected 1 to {MAX_DIMS} positive lengths"
            )
        if self.dtype.hasobject or self.dtype.itemsize == 0:
            raise StreamError(f"dtype of an item: found {self.dtype}, expected plain numbers")

    @property
    def nbytes(self) -> int:
        """Bytes of the greatest item."""
        return prod(self.shape) * self.dtype.itemsize

    @property
    def is_rows(self) -> bool:
        """Whether items are rows of results rather than pictures."""
        return self.dtype.names is not None

    def to_json(self) -> str:
        """The description as JSON, as it stands in the segment's header and in recordings."""
        return json.dumps(
            {
                "shape": self.shape,
                "dtype": self.dtype.descr if self.is_rows else self.dtype.str,
                "rate": self.rate,
                "pixel_format": self.pixel_format,
                "fields": dict(self.fields),
                "meta": dict(self.meta),
            }
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> Spec:
        """Read what `to_json` wrote.

        Raises:
            StreamError: the text is not such a description.
        """
        try:
            found = json.loads(text)
            descr = found["dtype"]
            dtype = np.dtype(descr if isinstance(descr, str) else [_column(c) for c in descr])
            return cls(
                tuple(found["shape"]),
                dtype,
                float(found["rate"]),
                str(found["pixel_format"]),
                dict(found["fields"]),
                dict(found["meta"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise StreamError(f"description of a stream: cannot be read ({error})") from error


def _column(column: list[Any]) -> tuple[Any, ...]:
    """One column of `dtype.descr`, whose tuples JSON has turned into lists."""
    return tuple(tuple(part) if isinstance(part, list) else part for part in column)
