"""Disks that are full or refuse: a clear error, what was written stays, the rest is counted."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import zarr
from zarr.core.sync import cleanup_resources

from marey import Session
from marey.cameras.replay import Replay
from marey.errors import RecordingError
from marey.recording import RecordedItem, RecordingWriter, open_recording
from marey.sinks.recorder import Recorder
from marey.stream import STAMP, Spec

SPEC = Spec((256, 256), np.dtype("u1"))


def item(seq: int) -> RecordedItem:
    stamp = np.zeros(1, STAMP)
    stamp["seq"] = seq
    return RecordedItem(np.full(SPEC.shape, seq % 251, "u1"), stamp, 1, range(0))


@pytest.fixture(autouse=True)
def no_threads_of_zarr() -> Iterator[None]:
    """End the threads that Zarr keeps for its next use."""
    yield
    cleanup_resources()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small disk")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(writer: RecordingWriter, first: int, last: int) -> list[int]:
    """Append items; returns those that were refused."""
    refused = []
    for seq in range(first, last):
        try:
            assert writer.append("cam", item(seq))
        except RecordingError as error:
            assert str(error).startswith(f"{writer.path}: disk full")  # noqa: PT017
            refused.append(seq)
    return refused


def test_on_a_full_disk_everything_before_stays_and_the_rest_is_counted(small_disk: Path) -> None:
    writer = RecordingWriter.create(small_disk, chunk=2**20)
    writer.add_stream("cam", SPEC)
    refused = fill(writer, 0, 200)
    kept = 200 - len(refused)
    assert refused == list(range(kept, 200))
    assert len(open_recording(writer.path)["cam"]) == kept
    writer.close()

    rec = open_recording(writer.path)
    cam = rec["cam"]
    assert rec.complete
    assert rec.metadata["streams"] == {"cam": {"items": kept, "lost": len(refused)}}
    assert [(gap.lost, gap.cause) for gap in cam.gaps] == [(range(kept, 200), "disk full")]
    assert all((one.data == one.seq % 251).all() for one in cam)
    stored = zarr.open_group(writer.path, mode="r")
    assert stored["cam/frames"][:, 0, 0].tolist() == [seq % 251 for seq in range(kept)]
    assert stored["cam/stamps/seq"][:].tolist() == list(range(kept))


def test_when_there_is_room_again_it_goes_on(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(5 * 2**20))
    with RecordingWriter.create(small_disk, chunk=2**18) as writer:
        writer.add_stream("cam", SPEC)
        refused = fill(writer, 0, 60)
        assert refused
        ballast.unlink()
        assert fill(writer, 60, 80) == []
    cam = open_recording(writer.path)["cam"]
    (gap,) = cam.gaps
    assert list(gap.lost) == refused
    assert cam.stamps["seq"].tolist() == [seq for seq in range(80) if seq not in gap.lost]
    assert all((one.data == one.seq % 251).all() for one in cam)


def test_a_disk_that_is_full_from_the_start_is_one_error(small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(bytes(8 * 2**20 - 2**16))
    with pytest.raises(RecordingError, match=r"no recording can be made there .*No space left"):
        RecordingWriter.create(small_disk, "run")


@pytest.mark.parametrize("when_full", ["stop", "go on"])
def test_a_recorder_on_a_full_disk_says_so_and_does_as_it_is_set(
    tmp_path: Path, small_disk: Path, runtime: Path, when_full: Literal["stop", "go on"]
) -> None:
    with RecordingWriter.create(tmp_path, "film") as film:
        film.add_stream("cam", SPEC)
        fill(film, 0, 251)
    session = Session(
        "bench",
        cam=Replay(path=str(film.path), rate=500, loop=True),
        rec=Recorder(sources=["cam"], folder=str(small_disk), chunk=1, when_full=when_full),
    )
    with session.running() as lab, lab.events() as events:
        path = lab.rec.start()["path"]
        told = next(
            e.data["text"] for e in events if e.kind == "log" and "disk full" in str(e.data)
        )
        assert path in told
        if when_full == "go on":
            assert lab.rec.get("recording") is True
            lost = lab.rec.stop()["lost"]["cam"]
        else:
            with lab.cam.every() as reader:  # frames go on; the recording is closed between two
                while lab.rec.get("recording"):
                    reader.read()
            lost = 1
    rec = open_recording(path)
    gaps = rec["cam"].gaps
    assert rec.complete
    assert ("disk full" in rec.metadata.get("ended_because", "")) == (when_full == "stop")
    assert {gap.cause for gap in gaps} == {"disk full"}
    assert sum(len(gap.lost) for gap in gaps) == lost > 0
    assert len(rec["cam"]) > 50


def test_a_limit_on_the_size_of_files_is_told_like_a_full_disk(tmp_path: Path) -> None:
    program = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_recording_full import SPEC, fill
from marey.recording import RecordingWriter
resource.setrlimit(resource.RLIMIT_FSIZE, (2**21, 2**21))
writer = RecordingWriter.create(sys.argv[1], "run", chunk=2**22)
writer.add_stream("cam", SPEC)
print(len(fill(writer, 0, 5)))
writer.close()
"""
    here = str(Path(__file__).parent)
    found = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), here],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.stdout, found.returncode) == ("5\n", 0), found.stderr
    cam = open_recording(tmp_path / "run")["cam"]
    assert [(gap.lost, gap.cause) for gap in cam.gaps] == [(range(5), "disk full")]
