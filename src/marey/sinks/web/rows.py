"""Rows of results on their way to a browser: one item's columns, or one field against time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marey.errors import StreamError
from marey.stream import Source, Spec

_RATE_SAMPLE = 256  # stamps from which the rate is taken


def numeric_columns(spec: Spec) -> list[str]:
    """Names of the fields that hold one real number each."""
    fields: Mapping[str, Any] = spec.dtype.fields or {}
    return [
        name
        for name in spec.dtype.names or ()
        if fields[name][0].kind in "buif" and fields[name][0].shape == ()
    ]


def columns(rows: NDArray[Any], names: list[str]) -> dict[str, list[Any]]:
    """The named fields of rows as lists, all fields where none is named.

    Raises:
        StreamError: the rows have no such field.
    """
    known = rows.dtype.names or ()
    for name in names:
        if name not in known:
            raise StreamError(f"fields: found '{name}', expected some of {', '.join(known)}")
    return {name: _plain(rows[name]) for name in names or known}


def _plain(column: NDArray[Any]) -> list[Any]:
    if column.dtype.kind == "S":
        return [text.decode(errors="replace") for text in column.tolist()]
    return list(column.tolist())


def series(
    source: Source,
    field: str,
    row: int,
    *,
    key: str | None = None,
    after: int | None = None,
    seconds: float = 60.0,
    most: int = 2000,
    step: int | None = None,
) -> dict[str, Any]:
    """One field of one row against time, from what the ring still holds.

    Args:
        source: a stream of rows.
        field: the field plotted.
        row: which row of each item; where `key` is given, the row whose field `key` has this value.
        after: only items after this one, as `next` of an earlier answer told.
        seconds: how far to go back from the newest item, s.
        most: about how many points a window of `seconds` may have; of more, every n-th is taken.
        step: n of an earlier answer; kept unless it has become wrong by more than a factor of two.

    Returns:
        `seq`, `t` (Unix time of the exposure, s), `v` (None where there is no finite value), `step`
        (n above) and `next`, the last item that was looked at.

    Raises:
        StreamError: there is no such numeric field.
    """
    spec = source.spec
    for name in (field, key):
        if name is not None and name not in numeric_columns(spec):
            raise StreamError(
                f"field: found '{name}', expected one of {', '.join(numeric_columns(spec))}"
            )
    head = source.head
    last = head - 1
    if after is not None and after > last:
        after = None  # counted in an earlier life of the session
    rate = _rate(source.stamps(_RATE_SAMPLE), spec.rate)
    step = _step(rate * seconds / most, step)
    oldest = source.oldest if after is None else max(source.oldest, after + 1)
    stamps = source.stamps(max(0, head - oldest))
    if len(stamps):
        since = stamps["host_time"][-1] - int(seconds * 1e9)
        wanted = (stamps["seq"] % step == 0) & (stamps["host_time"] >= since)
        if after is not None:
            wanted &= stamps["seq"] > after
        stamps = stamps[wanted]
    seqs, times, values = [], [], []
    for seq, host_time in zip(stamps["seq"].tolist(), stamps["host_time"].tolist(), strict=True):
        frame = source.at(seq)
        if frame is None:
            continue
        value = _value(frame.data, field, row, key)
        if not frame.valid():
            continue
        seqs.append(seq)
        times.append(host_time / 1e9)
        values.append(value)
    return {"seq": seqs, "t": times, "v": values, "step": step, "next": last}


def _value(rows: NDArray[Any], field: str, row: int, key: str | None) -> float | None:
    if key is not None:
        at = np.flatnonzero(rows[key] == row)
        if not len(at):
            return None
        value = rows[field][at[0]]
    elif row < len(rows):
        value = rows[field][row]
    else:
        return None
    found = float(value)
    return found if math.isfinite(found) else None


def _rate(stamps: NDArray[Any], nominal: float) -> float:
    """Items per second, as measured; the nominal rate while there are too few to tell."""
    if len(stamps) < 8:
        return nominal
    span = float(stamps["host_time"][-1] - stamps["host_time"][0]) / 1e9
    return (len(stamps) - 1) / span if span > 0 else nominal


def _step(excess: float, before: int | None) -> int:
    """A power of two, so that a changed rate seldom changes which items are taken."""
    wanted = 1 << max(0, math.ceil(math.log2(excess))) if excess > 1 else 1
    if before and before / 2 <= wanted <= before * 2:
        return before
    return wanted
