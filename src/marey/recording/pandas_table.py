"""Structured arrays as pandas tables."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from marey.errors import RecordingError
from marey.stream.spec import UNKNOWN, UNKNOWN_TIME

if TYPE_CHECKING:
    import pandas

_UNKNOWN = {"source_seq": UNKNOWN, "device_frame": UNKNOWN, "device_time": UNKNOWN_TIME}


def to_pandas(records: NDArray[Any]) -> pandas.DataFrame:
    """One column for each field of a structured array.

    Raises:
        RecordingError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise RecordingError("to_pandas needs pandas: pip install 'marey[pandas]'") from error
    columns: dict[str, Any] = {}
    for name in records.dtype.names or ():
        values = records[name]
        values = values.astype(values.dtype.newbyteorder("="), copy=False)
        if name in _UNKNOWN and values.dtype.kind in "iu":
            columns[name] = pd.arrays.IntegerArray(values.copy(), values == _UNKNOWN[name])
        elif values.ndim == 1:
            columns[name] = list(values) if values.dtype.kind == "V" else values
        else:
            flat = values.reshape(len(values), prod(values.shape[1:]))
            columns |= {f"{name}_{k}": flat[:, k] for k in range(flat.shape[1])}
    return pd.DataFrame(columns)
