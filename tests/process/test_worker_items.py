"""What nodes are given: every pixel and stamp, once, in order; and what they make of it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marey import Session
from marey.cameras import Counter
from marey.cameras.counter import expected
from support.nodes import Keep, Lock, Motor, Ragged, Sum, Ticker, Truthful
from support.waiting import eventually, kept


@pytest.mark.parametrize(
    ("dtype", "colour"), [("u8", False), ("u16", False), ("f32", False), ("u8", True)]
)
@pytest.mark.parametrize("block", [1, 7])
def test_pixels_and_stamps_arrive_exactly(
    runtime: Path, tmp_path: Path, dtype: Any, colour: bool, block: int
) -> None:
    file = tmp_path / "kept"
    Session(
        "bench",
        cam=Counter(shape=(5, 9), dtype=dtype, color=colour, rate=2000, count=300, block=block),
        keep=Keep(file=str(file)),
    ).run()
    items = kept(file)
    assert [i["seq"] for i in items] == list(range(300))
    numpy = {"u8": "u1", "u16": "u2", "f32": "f4"}[dtype]
    for item in items:
        picture = expected(item["device_frame"], tuple(item["shape"]), numpy)
        assert np.array_equal(np.array(item["data"], numpy), picture)
        assert item["source_seq"] is None
        assert item["shape"] == ([5, 9, 3] if colour else [5, 9])
    for name in ("device_time", "mono_time", "host_time"):
        times = [i[name] for i in items]
        assert all(a < b for a, b in pairwise(times))
    # The camera's own times, not those of publication: one clock, and evenly spaced.
    offsets = {i["mono_time"] - i["device_time"] for i in items}
    assert max(offsets) - min(offsets) <= 1


def test_frames_that_the_device_lost_are_accounted_for(runtime: Path, tmp_path: Path) -> None:
    session = Session(
        "bench",
        cam=Counter(shape=(4, 4), rate=5000, count=90, drop_every=10, repeat_every=7),
        keep=Keep(file=str(tmp_path / "a"), pixels=False),
    )
    ledger = session.run()
    items = kept(tmp_path / "a")
    frames = [i["device_frame"] for i in items]
    missing = set(range(frames[-1])) - set(frames)
    repeated = len(frames) - len(set(frames))
    assert missing
    assert repeated
    assert ledger["streams"]["cam"]["device_lost"] == len(missing)
    assert ledger["streams"]["cam"]["device_repeated"] == repeated
    named = {}
    for incident in ledger["incidents"]:
        assert incident["cause"] == "lost in the device"
        named[incident["first"]] = incident["count"]
    # `first` is the seq of the frame before which they are missing.
    for first, count in named.items():
        assert frames[first] - frames[first - 1] == count + 1
    assert sum(named.values()) == len(missing)


def test_a_counter_that_wraps_is_no_loss(runtime: Path) -> None:
    session = Session(
        "bench",
        cam=Counter(
            shape=(8, 8),
            free_running=True,
            count=70_000,
            counter_bits=16,
            block=256,
            lossless=True,
            buffer="4096 frames",
        ),
        sums=Sum(source="cam", block=64),
    )
    ledger = session.run()
    assert ledger["streams"]["cam"]["published"] == 70_000
    assert ledger["streams"]["cam"]["device_lost"] == 0
    assert ledger["streams"]["cam"]["readers"]["sums"]["received"] == 70_000


def test_items_have_shapes_of_their_own(runtime: Path, tmp_path: Path) -> None:
    Session("bench", cam=Ragged(frames=40), keep=Keep(file=str(tmp_path / "a"))).run()
    items = kept(tmp_path / "a")
    assert len(items) == 40
    for n, item in enumerate(items):
        shape = (1 + n % 5, 1 + n % 7)
        assert item["shape"] == list(shape)
        assert item["data"] == np.full(shape, n).tolist()


@pytest.mark.parametrize("block", [1, 8])
def test_what_is_emitted_beside_bears_the_stamps_of_its_frame(
    runtime: Path, tmp_path: Path, block: int
) -> None:
    Session(
        "bench", cam=Truthful(frames=100, block=block), keep=Keep(file=str(tmp_path / "a"))
    ).run()
    frames = kept(tmp_path / "a", "cam")
    truths = kept(tmp_path / "a", "cam.truth")
    assert len(frames) == len(truths) == 100
    for frame, truth in zip(frames, truths, strict=True):
        assert truth["source_seq"] == frame["seq"]
        assert truth["data"] == [[frame["device_frame"], 4 * frame["device_frame"]]]
        assert truth["mono_time"] == frame["mono_time"]
        assert truth["host_time"] == frame["host_time"]


def test_results_bear_the_stamps_of_what_they_were_made_of(runtime: Path, tmp_path: Path) -> None:
    Session(
        "bench",
        cam=Ticker(rate=2000, frames=100),
        sums=Sum(source="cam", skip=3),
        keep=Keep(file=str(tmp_path / "a")),
    ).run()
    frames = {i["seq"]: i for i in kept(tmp_path / "a", "cam")}
    results = kept(tmp_path / "a", "sums")
    assert [r["source_seq"] for r in results] == [n for n in range(100) if n % 3]
    assert [r["seq"] for r in results] == list(range(len(results)))
    for result in results:
        frame = frames[result["source_seq"]]
        for name in ("mono_time", "host_time", "device_frame", "device_time"):
            assert result[name] == frame[name]
        assert result["data"] == [[frame["seq"], float(24 * (frame["seq"] % 256))]]
    tenth = kept(tmp_path / "a", "sums.tenth")
    assert [t["source_seq"] for t in tenth] == list(range(0, 100, 10))
    assert [t["data"] for t in tenth] == [[[n, 0.0]] for n in range(0, 100, 10)]


def test_blocks_are_consecutive_and_complete(runtime: Path, tmp_path: Path) -> None:
    ledger = Session(
        "bench",
        cam=Ticker(rate=1e6, frames=1000, lossless=True),
        sums=Sum(source="cam", block=16),
        keep=Keep(file=str(tmp_path / "a"), sources=["sums"]),
    ).run()
    results = kept(tmp_path / "a")
    # 1000 = 62 * 16 + 8: the rest at the end is a block as well.
    assert [r["source_seq"] for r in results] == [*range(15, 1000, 16), 999]
    rows = [row for result in results for row in result["data"]]
    assert rows == [[n, float(24 * (n % 256))] for n in range(1000)]
    reader = ledger["streams"]["cam"]["readers"]["sums"]
    assert (reader["received"], reader["lost"], reader["behind"]) == (1000, 0, 0)


def test_a_block_processor_killed_at_work_makes_neither_double_nor_gap(
    runtime: Path, tmp_path: Path
) -> None:
    Session(
        "bench",
        cam=Ticker(rate=1e6, frames=1000, lossless=True),
        sums=Sum(source="cam", block=16, failing="kill", at=320, once=str(tmp_path / "x")),
        keep=Keep(file=str(tmp_path / "a"), sources=["sums"]),
    ).run()
    rows = [row for result in kept(tmp_path / "a") for row in result["data"]]
    assert [int(row[0]) for row in rows] == list(range(1000))


def test_the_latest_only(runtime: Path) -> None:
    ledger = Session(
        "bench",
        cam=Ticker(rate=2000, frames=400),
        sums=Sum(source="cam", reads="latest", slow=0.01),
    ).run()
    reader = ledger["streams"]["cam"]["readers"]["sums"]
    assert reader["policy"] == "latest"
    assert reader["skipped"] > 0
    assert reader["received"] + reader["skipped"] == 400
    assert ledger["streams"]["sums"]["published"] == reader["received"]


def test_a_device_is_polled_at_its_interval(runtime: Path, tmp_path: Path) -> None:
    session = Session("bench", motor=Motor(interval=0.002), keep=Keep(file=str(tmp_path / "a")))
    with session.running() as lab:
        eventually(lambda: len(kept(tmp_path / "a")) > 50)
        lab.motor.move(to=4)
        eventually(lambda: kept(tmp_path / "a")[-1]["data"] == [[4.0]])
        lab.motor.set(interval=600)
        head = lab.motor.head
        lab.motor.move(to=5)
        assert lab.motor.head <= head + 1
        lab.motor.set(interval=0.002)
    rows = kept(tmp_path / "a")
    assert [r["seq"] for r in rows] == list(range(len(rows)))


def test_a_processor_asks_a_device_for_each_frame(runtime: Path, tmp_path: Path) -> None:
    """A feedback loop."""
    Session(
        "bench",
        cam=Ticker(rate=200, frames=60),
        motor=Motor(interval=0.01),
        lock=Lock(source="cam", device="motor"),
        keep=Keep(file=str(tmp_path / "a"), sources=["lock"]),
    ).run()
    assert [i["data"][0][0] for i in kept(tmp_path / "a")] == [n / 10 for n in range(60)]


def test_the_numbers_of_the_ledger_balance(runtime: Path, tmp_path: Path) -> None:
    """For every reader, at every moment after the end: what it was owed is accounted for."""
    session = Session(
        "bench",
        cam=Ticker(rate=5000, frames=3000, buffer="64 frames"),
        slow=Sum(source="cam", slow=0.002),
        fast=Sum(source="cam"),
        newest=Sum(source="cam", reads="latest", slow=0.001),
        keep=Keep(file=str(tmp_path / "a"), slow=0.0005, pixels=False),
    )
    with session.running() as lab:
        eventually(lambda: lab.cam.head > 1000)
        live = lab.status()["streams"]["cam"]
        assert set(live["readers"]) == {"slow", "fast", "newest", "keep"}
        eventually(lambda: lab.status()["nodes"]["cam"]["state"] in ("ended", "stopped"))
    ledger = session.ledger
    lost: dict[tuple[str, str], int] = {}
    for incident in ledger["incidents"]:
        assert incident["what"] == "lost"
        key = incident["stream"], incident["reader"]
        lost[key] = lost.get(key, 0) + incident["count"]
    for stream, account in ledger["streams"].items():
        for name, reader in account["readers"].items():
            accounted = reader["received"] + reader["lost"] + reader["skipped"] + reader["behind"]
            assert accounted == account["published"] - reader["start"], (stream, name, reader)
            # What the counters say was lost, and what the node has told of, is the same.
            assert reader["lost"] == lost.get((stream, name), 0)
            assert reader["lost"] == sum(reader["causes"].values())
    assert ledger["streams"]["cam"]["readers"]["slow"]["lost"] > 0
    for name in ("slow", "fast", "newest"):
        published = ledger["streams"][name]["published"]
        assert published == ledger["streams"]["cam"]["readers"][name]["received"]
