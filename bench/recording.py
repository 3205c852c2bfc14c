"""What recording costs, beside a plain write of the same bytes and Zarr's own writer.

    python bench/recording.py [FOLDER ...]

Each folder is a disk to measure on; none given: the folder for temporary files and /dev/shm.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import zarr

from marey.recording import RecordingWriter, open_recording
from marey.stream import Frame, Reader, Source, Spec, Stream
from report import Row, report

CAMERA = Spec((1024, 1280), np.dtype("u1"), rate=200)
SMALL = Spec((64, 64), np.dtype("u1"))
TRACKS = Spec(
    (100,), np.dtype([("bead", "u4"), ("x", "f4"), ("y", "f4"), ("z", "f4"), ("err", "f4")])
)
FRAMES = 400
ROUNDS = 5
CHUNK = 64 * 2**20


class Bench:
    """A ring in shared memory that gives items, and a folder to record into.

    Args:
        folder: a folder on the disk to measure on; left as it was.
    """

    def __init__(self, folder: Path) -> None:
        self._stack = ExitStack()
        self._streams: dict[str, tuple[Stream, Reader]] = {}
        shm = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.runtime = self._stack.enter_context(tempfile.TemporaryDirectory(dir=shm))
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(dir=folder)))

    def close(self) -> None:
        """Remove everything."""
        self._stack.close()

    def stream(self, name: str, spec: Spec) -> tuple[Stream, Reader]:
        """A new ring and its reader."""
        stream = Stream(self.runtime, name, spec, slots=16)
        self._stack.callback(stream.close)
        reader = Source(self.runtime, name).every(start="oldest")
        self._stack.callback(reader.close)
        return stream, reader

    def appended(self, name: str, spec: Spec, count: int) -> float:
        """Seconds that `count` items of a ring take to be recorded, without their making."""
        writer = RecordingWriter.create(self.folder, "run", chunk=CHUNK)
        writer.add_stream(name, spec)

        def keep(k: int, frame: Frame) -> None:
            assert writer.append(name, frame)

        spent = self._each(name, spec, count, keep)
        begin = time.perf_counter()
        writer.close()
        spent += time.perf_counter() - begin
        shutil.rmtree(writer.path)
        return spent

    def written(self, count: int) -> float:
        """Seconds that a plain write of the same frames takes, in files of the same size."""
        each = CHUNK // CAMERA.nbytes
        files: list[int] = []

        def keep(k: int, frame: Frame) -> None:
            if k % each == 0:
                path = self.folder / f"{k}.raw"
                files.append(os.open(path, os.O_WRONLY | os.O_CREAT))
            assert os.write(files[-1], frame.data.data) == CAMERA.nbytes

        spent = self._each("cam", CAMERA, count, keep)
        begin = time.perf_counter()
        for fd in files:
            os.close(fd)
        spent += time.perf_counter() - begin
        for path in self.folder.glob("*.raw"):
            path.unlink()
        return spent

    def _each(self, name: str, spec: Spec, count: int, keep: Callable[[int, Frame], None]) -> float:
        """Seconds that `keep` takes for all of `count` items of a ring."""
        if name not in self._streams:
            self._streams[name] = self.stream(name, spec)
        stream, reader = self._streams[name]
        item = np.zeros(spec.shape, spec.dtype)
        spent = 0.0
        for k in range(count):
            stream.write(item)
            frame = reader.read(1)
            begin = time.perf_counter()
            keep(k, frame)
            spent += time.perf_counter() - begin
        return spent

    def in_zarr(self, count: int) -> float:
        """Seconds that zarr-python takes for whole chunks at a time, uncompressed.

        The copy that would collect the frames of a chunk is not counted.
        """
        each = CHUNK // CAMERA.nbytes
        array = zarr.create_array(
            self.folder / "zarr",
            shape=(count, *CAMERA.shape),
            chunks=(each, *CAMERA.shape),
            dtype="u1",
            compressors=None,
            fill_value=0,
            # Left out, zarr-python compares each chunk with zeros, which takes most of its time.
            config={"write_empty_chunks": True},
        )
        block = np.ones((each, *CAMERA.shape), "u1")
        spent = 0.0
        for first in range(0, count, each):
            last = min(first + each, count)
            begin = time.perf_counter()
            array[first:last] = block[: last - first]
            spent += time.perf_counter() - begin
        shutil.rmtree(self.folder / "zarr")
        return spent


def interleaved(*measures: Callable[[], float]) -> list[float]:
    """The median of each measure; they take turns, so that a busy moment meets them all."""
    rounds = [[measure() for measure in measures] for _ in range(ROUNDS)]
    return [statistics.median(column) for column in zip(*rounds, strict=True)]


def disk(folder: Path) -> list[Row]:
    """The figures of one disk."""
    bench = Bench(folder)
    try:
        ours, plain, peer = interleaved(
            lambda: bench.appended("cam", CAMERA, FRAMES),
            lambda: bench.written(FRAMES),
            lambda: bench.in_zarr(FRAMES),
        )
        small, rows = interleaved(
            lambda: bench.appended("small", SMALL, 5000),
            lambda: bench.appended("tracks", TRACKS, 5000),
        )
    finally:
        bench.close()
    size = FRAMES * CAMERA.nbytes / 1e6
    where = f"{folder}: "
    load = 200 * (ours / FRAMES + rows / 5000)
    return [
        Row(f"{where}1280x1024 u8, recorded", size / ours, "MB/s", at_least=262),
        Row(f"{where}1280x1024 u8, plain write()", size / plain, "MB/s", note="the limit"),
        Row(
            f"{where}1280x1024 u8, zarr-python", size / peer, "MB/s", note="whole chunks at a time"
        ),
        Row(f"{where}recorded / plain write()", plain / ours, "x", at_least=0.8),
        Row(f"{where}recorded / zarr-python", peer / ours, "x", at_least=0.8),
        Row(f"{where}a 64x64 u8 frame", small / 5000 * 1e6, "us", at_most=50),
        Row(f"{where}100 rows of 5 fields", rows / 5000 * 1e6, "us", at_most=50),
        Row(f"{where}100 beads at 200 Hz and their frames", load, "core", at_most=0.8),
    ]


def reading(folder: Path) -> list[Row]:
    """How long it takes to open a long recording, and to find one of its frames."""
    bench = Bench(folder)
    count = 100_000
    try:
        stream, reader = bench.stream("cam", Spec((8, 8), np.dtype("u1")))
        writer = RecordingWriter.create(bench.folder, "run")
        writer.add_stream("cam", Spec((8, 8), np.dtype("u1")))
        item = np.zeros((8, 8), "u1")
        for _ in range(count):
            stream.write(item)
            writer.append("cam", reader.read(1))
        writer.close()

        def opened() -> float:
            begin = time.perf_counter()
            assert len(open_recording(writer.path)["cam"]) == count
            return time.perf_counter() - begin

        def found() -> float:
            cam = open_recording(writer.path)["cam"]
            cam.by_seq(0)
            begin = time.perf_counter()
            for seq in range(0, count, 100):
                assert cam.by_seq(seq) is not None
            return (time.perf_counter() - begin) / (count / 100)

        first, each = interleaved(opened, found)
    finally:
        bench.close()
    return [
        Row("open a recording of 100,000 items", first * 1e3, "ms", at_most=100),
        Row("find an item by its seq", each * 1e6, "us", at_most=100),
    ]


def main(folders: list[str]) -> int:
    """Measure on the disks named, and report."""
    disks = [Path(name) for name in folders] or [Path(tempfile.gettempdir()), Path("/dev/shm")]
    rows = [row for folder in disks for row in disk(folder)]
    return 0 if report("recording", [*rows, *reading(disks[0])]) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
