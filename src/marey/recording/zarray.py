"""The metadata of Zarr v3 arrays and groups (zarr-specs, core protocol version 3.0)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from marey.errors import RecordingError
from marey.recording.layout import META, read_json

_NAMES = {
    "b1": "bool", "i1": "int8", "i2": "int16", "i4": "int32", "i8": "int64",
    "u1": "uint8", "u2": "uint16", "u4": "uint32", "u8": "uint64",
    "f2": "float16", "f4": "float32", "f8": "float64", "c8": "complex64", "c16": "complex128",
}  # fmt: skip
_TYPES = {name: code for code, name in _NAMES.items()}
_FILL: dict[str, Any] = {"b": False, "i": 0, "u": 0, "f": 0.0, "c": [0.0, 0.0]}


def stored(dtype: np.dtype[Any]) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """How elements of a type are stored: a core type of Zarr and further axes.

    Arrays inside a field become further axes, and what Zarr's core does not know (text, bytes,
    nested records) becomes an axis of uint8.
    """
    base, shape = dtype.subdtype or (dtype, ())
    if f"{base.kind}{base.itemsize}" in _NAMES:
        return base, shape
    return np.dtype("u1"), (*shape, base.itemsize)


@dataclass
class ArrayMeta:
    """What one `zarr.json` says of an array that grows along its first axis.

    Chunks are whole along all other axes and stored as they are (codec `bytes`), in files
    `c.<k>.0.0`: the default chunk key encoding with the separator `.`, which spares a tree of
    folders for each chunk.

    Attributes:
        dtype: element type, one of Zarr's core types.
        item: shape of one item, that is of all axes but the first.
        chunk: items in one chunk.
        dims: name of each axis, the first one included.
        attributes: anything else, as JSON values.
    """

    dtype: np.dtype[Any]
    item: tuple[int, ...]
    chunk: int
    dims: Sequence[str | None] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def item_bytes(self) -> int:
        """Bytes of one item."""
        return int(np.prod(self.item, dtype=np.int64)) * self.dtype.itemsize

    def chunk_name(self, k: int) -> str:
        """File name of the k-th chunk along the first axis."""
        return ".".join(["c", str(k), *["0"] * len(self.item)])

    def to_json(self, length: int) -> dict[str, Any]:
        """The `zarr.json` of the array while it holds `length` items."""
        codec: dict[str, Any] = {"name": "bytes"}
        if self.dtype.itemsize > 1:
            big = self.dtype.str.startswith(">")
            codec["configuration"] = {"endian": "big" if big else "little"}
        dims = [*self.dims, *[None] * (1 + len(self.item) - len(self.dims))]
        return {
            "zarr_format": 3,
            "node_type": "array",
            "shape": [length, *self.item],
            "data_type": _NAMES[f"{self.dtype.kind}{self.dtype.itemsize}"],
            "chunk_grid": {
                "name": "regular",
                "configuration": {"chunk_shape": [self.chunk, *self.item]},
            },
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
            "fill_value": _FILL[self.dtype.kind],
            "codecs": [codec],
            "dimension_names": dims,
            "attributes": dict(self.attributes),
        }

    @classmethod
    def read(cls, folder: Path) -> tuple[ArrayMeta, int]:
        """Read an array's `zarr.json`; returns it with the number of items that it tells.

        Raises:
            RecordingError: it is missing, damaged, or not an array as `ArrayMeta` describes.
        """
        found = read_json(folder / META)
        try:
            length, *item = (int(n) for n in found["shape"])
            chunk, *inner = (int(n) for n in found["chunk_grid"]["configuration"]["chunk_shape"])
            (codec,) = found["codecs"]
            order = ">" if codec.get("configuration", {}).get("endian") == "big" else "<"
            dtype = np.dtype(order + _TYPES[found["data_type"]])
            if codec["name"] != "bytes" or inner != item or min(chunk, length + 1, *item, 1) < 1:
                raise ValueError("not an array of whole, uncompressed chunks")
            dims, attributes = list(found.get("dimension_names", ())), dict(found["attributes"])
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise RecordingError(
                f"{folder / META}: cannot be read as an array of this format ({error!r})"
            ) from error
        return cls(dtype, tuple(item), chunk, dims, attributes), length


def group(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The `zarr.json` of a group."""
    return {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes)}
