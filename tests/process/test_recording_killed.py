"""A writer that is killed at any instant leaves a recording with everything that it had said."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import zarr
from zarr.core.sync import cleanup_resources

from marey.recording import RecordingWriter, open_recording
from marey.recording.layout import RUN

# Appends for ever and says what `append` has returned from, one byte for each pair of items. With
# a third argument it kills itself at that call of the operating system that names a file.
CHILD = """
import os, signal, sys
import numpy as np
from marey.recording import RecordedItem, RecordingWriter
from marey.stream import STAMP, Spec

home, how, *calls = sys.argv[1:]
if calls:
    left = int(calls[0])
    def count(event, args):
        global left
        if event in ("open", "os.mkdir", "os.rename", "os.remove", "os.truncate", "fcntl.flock"):
            left -= 1
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(count)
if how == "resume":
    writer = RecordingWriter.resume(home + "/run")
else:
    writer = RecordingWriter.create(home, "run", chunk=20_000)
writer.add_stream("cam", Spec((40, 50), "u2"))
writer.add_stream("rows", Spec((7,), np.dtype([("x", "f4"), ("n", "i8")])))
seq = 0
while True:
    stamp = np.zeros(1, STAMP)
    stamp["seq"] = stamp["host_time"] = seq
    shape = (40, 50) if seq % 4 else (seq % 39 + 1, 50)
    rows = np.zeros(seq % 8, [("x", "f4"), ("n", "i8")])
    rows["n"] = rows["x"] = seq
    writer.append("cam", RecordedItem(np.full(shape, seq, "u2"), stamp, 1, range(0)))
    if writer.append("rows", RecordedItem(rows, stamp, 1, range(0))):
        os.write(1, b".")
    if seq % 50 == 0:
        writer.flush()
    seq += 1
"""

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture(autouse=True)
def no_threads_of_zarr() -> Iterator[None]:
    """End the threads that Zarr keeps for its next use."""
    yield
    cleanup_resources()


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts children, and ends those that a failed test has left."""
    children: list[subprocess.Popen[bytes]] = []

    def begin(*args: str) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, *args], stdout=subprocess.PIPE, bufsize=0
        )
        children.append(child)
        return child

    yield begin
    for child in children:
        child.kill()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()


def said_until_killed(child: subprocess.Popen[bytes], kill_at: int | None = None) -> int:
    """How much a child has said in all; it is killed when it has said `kill_at`."""
    assert child.stdout is not None
    said = 0
    while part := os.read(child.stdout.fileno(), 4096):
        said += len(part)
        if kill_at is not None and said >= kill_at:
            child.kill()
    assert child.wait() == -signal.SIGKILL
    return said


def check(path: Path, said: int) -> int:
    """Everything that was said, and at most the pair in hand, is there; returns how many."""
    rec = open_recording(path)
    assert not rec.complete
    frames, rows = rec["cam"], rec["rows"]
    assert said <= len(rows) <= len(frames) <= said + 1
    for stream in (frames, rows):
        assert np.array_equal(stream.stamps["seq"], np.arange(len(stream)))
        assert stream.gaps == []
    for one in frames:
        assert one.data.shape == ((40, 50) if one.seq % 4 else (one.seq % 39 + 1, 50))
        assert (one.data == one.seq).all()
    for one in rows:
        assert one.data["n"].tolist() == [one.seq] * (one.seq % 8)
    count = np.arange(len(rows)) % 8
    assert np.array_equal(rows.rows["seq"], np.repeat(np.arange(len(rows)), count))

    stored = zarr.open_group(path, mode="r")
    shown = stored["cam/stamps/seq"].shape[0]
    slots = stored["cam/frames"][:]
    assert len(slots) >= shown
    assert np.array_equal(stored["cam/stamps/seq"][:], np.arange(shown))
    assert np.array_equal(slots[:, 0, 0], np.arange(len(slots)))
    total = stored["rows/rows/n"].shape[0]
    assert np.array_equal(stored["rows/rows/n"][:], rows.rows["n"][:total])
    return len(rows)


@pytest.mark.parametrize("seed", range(4))
def test_killed_again_and_again_it_holds_every_item_once(
    tmp_path: Path, start: Start, seed: int
) -> None:
    chance = random.Random(seed)
    there = 0
    for life in range(5):
        child = start(str(tmp_path), "resume" if life else "create")
        there = check(tmp_path / "run", there + said_until_killed(child, chance.randrange(1, 400)))
    with RecordingWriter.resume(tmp_path / "run") as writer:
        assert writer.streams["rows"].items == there
    assert open_recording(tmp_path / "run").complete


@pytest.mark.parametrize("calls", [2, 4, 6, 8, 12, 20, 40, 60, 80, 100, 130])
def test_killed_while_it_begins_it_goes_on(tmp_path: Path, start: Start, calls: int) -> None:
    said = said_until_killed(start(str(tmp_path), "create", str(calls)))
    if not (tmp_path / "run" / RUN).exists():
        assert said == 0
        return
    rec = open_recording(tmp_path / "run")
    kept = {name: len(rec[name]) for name in rec}
    said += said_until_killed(start(str(tmp_path), "resume", str(calls)))
    said += said_until_killed(start(str(tmp_path), "resume"), 20)
    assert check(tmp_path / "run", max(said, *kept.values(), 0)) >= 20
