"""What the page sends of rows: columns, and fields against time from a stream's memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from marey.errors import StreamError
from marey.sinks.web import rows
from marey.sinks.web.answers import to_text
from marey.stream import Source, Spec, Stream

ROW = np.dtype(
    [("bead", "u4"), ("x", "f4"), ("z", "f4"), ("name", "S4"), ("box", "f4", (2,)), ("ok", "?")]
)
SECOND = 1_000_000_000


def tracks(runtime: Path) -> Stream:
    """A stream of rows; not a fixture, whose value would outlive the runtime folder."""
    return Stream(runtime, "tracks", Spec((4,), ROW, rate=100.0), slots=400)


def fill(stream: Stream, count: int, rate: float = 100.0) -> None:
    for i in range(stream.head, stream.head + count):
        item = np.zeros(3, ROW)
        item["bead"] = [7, 8, 9]
        item["z"] = [i, 10 * i, np.nan if i % 2 else 5]
        stream.write(item, host_time=SECOND * 1000 + int(i * SECOND / rate), mono_time=1)


def test_numeric_columns_are_single_real_numbers() -> None:
    assert rows.numeric_columns(Spec((4,), ROW)) == ["bead", "x", "z", "ok"]


def test_columns_are_plain_and_what_is_not_finite_is_null() -> None:
    item = np.zeros(2, ROW)
    item["z"] = [np.nan, 1.5]
    item["name"] = [b"ab", b"c"]
    assert to_text(rows.columns(item, ["z", "name", "box"])) == (
        '{"z":[null,1.5],"name":["ab","c"],"box":[[0.0,0.0],[0.0,0.0]]}'
    )
    assert list(rows.columns(item, [])) == list(ROW.names)


def test_an_unknown_column_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(StreamError, match="found 'zz', expected some of bead, x, z"):
        rows.columns(np.zeros(1, ROW), ["zz"])


def test_series_holds_value_and_time_of_each_item(runtime: Path) -> None:
    stream = tracks(runtime)
    fill(stream, 50)
    found = rows.series(Source(runtime, "tracks"), "z", 0, seconds=10)
    assert found["seq"] == list(range(50))
    assert found["v"] == list(range(50))
    assert found["t"][1] - found["t"][0] == pytest.approx(0.01)
    assert (found["step"], found["next"]) == (1, 49)


def test_series_continues_where_the_last_one_ended(runtime: Path) -> None:
    stream = tracks(runtime)
    source = Source(runtime, "tracks")
    fill(stream, 20)
    first = rows.series(source, "z", 0, seconds=10)
    assert rows.series(source, "z", 0, seconds=10, after=first["next"])["seq"] == []
    fill(stream, 5)
    second = rows.series(source, "z", 0, seconds=10, after=first["next"])
    assert second["seq"] == [20, 21, 22, 23, 24]


def test_series_follows_a_row_by_its_key(runtime: Path) -> None:
    stream = tracks(runtime)
    fill(stream, 10)
    source = Source(runtime, "tracks")
    assert rows.series(source, "z", 8, key="bead", seconds=10)["v"][3] == 30
    assert rows.series(source, "z", 5, key="bead", seconds=10)["v"][3] is None


def test_series_without_the_row_or_a_finite_value_has_none(runtime: Path) -> None:
    stream = tracks(runtime)
    fill(stream, 4)
    source = Source(runtime, "tracks")
    assert rows.series(source, "z", 3, seconds=10)["v"] == [None] * 4
    assert rows.series(source, "z", 2, seconds=10)["v"] == [5, None, 5, None]


def test_series_goes_back_so_many_seconds(runtime: Path) -> None:
    stream = tracks(runtime)
    fill(stream, 300)
    assert rows.series(Source(runtime, "tracks"), "z", 0, seconds=0.5)["seq"] == [*range(249, 300)]


def test_a_long_series_takes_every_nth_item(runtime: Path) -> None:
    stream = tracks(runtime)
    fill(stream, 300)
    source = Source(runtime, "tracks")
    found = rows.series(source, "z", 0, seconds=3, most=100)
    assert found["step"] == 4  # 300 items wanted in 100 points: three, as a power of two
    assert all(seq % 4 == 0 for seq in found["seq"])
    assert rows.series(source, "z", 0, seconds=3, most=100, step=8)["step"] == 8
    assert rows.series(source, "z", 0, seconds=3, most=100, step=64)["step"] == 4


def test_a_series_of_an_earlier_life_begins_anew(runtime: Path) -> None:
    stream = tracks(runtime)
    fill(stream, 10)
    assert len(rows.series(Source(runtime, "tracks"), "z", 0, seconds=10, after=5000)["seq"]) == 10


def test_a_series_reaches_as_far_as_the_memory(runtime: Path) -> None:
    stream = tracks(runtime)
    fill(stream, stream.slots + 100)
    found = rows.series(Source(runtime, "tracks"), "z", 0, seconds=1000)
    assert found["seq"][0] >= 100
    assert found["v"] == found["seq"]


@pytest.mark.parametrize("field", ["name", "box", "nothing"])
def test_a_series_of_no_number_is_refused(runtime: Path, field: str) -> None:
    with (
        tracks(runtime),
        pytest.raises(StreamError, match=f"found '{field}', expected one of bead, x, z, ok"),
    ):
        rows.series(Source(runtime, "tracks"), field, 0)


def test_an_empty_stream_has_an_empty_series(runtime: Path) -> None:
    with tracks(runtime):
        found = rows.series(Source(runtime, "tracks"), "z", 0, seconds=10)
    assert (found["seq"], found["next"]) == ([], -1)
