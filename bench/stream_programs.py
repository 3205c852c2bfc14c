"""One writer and its readers in `marey`, `magscope` and `crappy`, each in processes of its own.

Run by `stream.py` as `python stream_programs.py PROGRAM '{"shape": [64, 64], ...}'` with the fields
of `Case`; prints `{"written": frames/s, "read": frames/s of each reader, "p50": us, "p99": us}`.
At a set rate the time at which the camera had the frame stands in its first eight bytes, so that
latencies are one-way, copies included; free running nothing is stamped and there are no latencies.
The peers are optional, installed by the extra `bench`, and used through their public interface.
"""

from __future__ import annotations

import json
import mmap
import multiprocessing
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from typing import Any

import numpy as np
import psutil

Told = dict[str, float | None]
FORK = multiprocessing.get_context("fork")
MEMORY = 2**28
"""Bytes of a ring: more than the processor's caches hold."""


@dataclass(frozen=True)
class Case:
    """What a program is to do.

    Attributes:
        shape: height and width of a frame, pixels.
        dtype: type of a pixel.
        rate: frames per second; 0 is free running.
        seconds: how long.
        readers: how many readers (`marey` only; the peers have one).
        block: frames published and read at a time (`marey` only).
    """

    shape: tuple[int, int]
    dtype: str
    rate: float
    seconds: float
    readers: int = 1
    block: int = 1

    @property
    def nbytes(self) -> int:
        """Bytes of a frame."""
        return self.shape[0] * self.shape[1] * np.dtype(self.dtype).itemsize


class Tally:
    """Counts frames, and their latencies where they are stamped, until the time is over."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.first = self.last = self.count = 0
        self.late: list[int] = []

    def add(self, now: int, frame: np.ndarray[Any, Any], n: int = 1) -> bool:
        """Enter a frame, or n of them, that came at `now`; whether the time is over."""
        if self.case.rate:
            self.late.append(now - int(frame.reshape(-1)[: 8 // frame.itemsize].view(np.int64)[0]))
        if not self.first:
            self.first, self.count = now, -n  # those that the clock did not see
        self.last, self.count = now, self.count + n
        return now - self.first > self.case.seconds * 1e9

    def told(self) -> Told:
        """Frames per second and latency in us."""
        late = np.quantile(self.late, [0.5, 0.99]) / 1e3 if self.late else (None, None)
        rate = self.count / ((self.last - self.first) / 1e9) if self.last > self.first else 0.0
        return {"read": rate, "p50": late[0], "p99": late[1]}


class Pace:
    """Waits for the next frame's time and stamps it; free running it does neither."""

    def __init__(self, case: Case) -> None:
        self.step = int(1e9 / case.rate) if case.rate else 0
        self.due = self.began = time.monotonic_ns()
        self.count = 0

    def next(self, frame: np.ndarray[Any, Any], n: int = 1) -> np.ndarray[Any, Any]:
        """The frame, or block of n, when its time has come."""
        self.count += n
        if self.step:
            self.due = max(self.due + self.step, time.monotonic_ns())
            time.sleep(max(0, self.due - time.monotonic_ns()) / 1e9)
            frame.reshape(-1)[: 8 // frame.itemsize].view(np.int64)[0] = time.monotonic_ns()
        return frame

    @property
    def rate(self) -> float:
        """Frames per second so far."""
        return self.count / ((time.monotonic_ns() - self.began) / 1e9)


def marey(case: Case) -> Told:
    """A stream with readers that see every frame, as views of the shared memory."""
    from marey.stream import Source, Spec, Stream

    slots = max(16, min(MEMORY // case.nbytes, 16384))
    results: Any = FORK.Queue()

    def read(folder: str, ready: Event) -> None:
        source, tally = Source(folder, "cam").wait(), Tally(case)
        reader = source.block(case.block) if case.block > 1 else source.every()
        with reader:
            ready.set()
            more = True
            while more:
                item = reader.read()
                more = not tally.add(time.monotonic_ns(), item.data, case.block)
        results.put(tally.told())

    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        spec = Spec(case.shape, np.dtype(case.dtype), rate=case.rate)
        with Stream(folder, "cam", spec, slots=slots) as stream:
            frame = np.zeros(
                (case.block, *case.shape) if case.block > 1 else case.shape, spec.dtype
            )
            for _ in range(slots):  # memory is given at its first touch
                stream.write(frame.reshape(-1, *case.shape)[0])
            events = [FORK.Event() for _ in range(case.readers)]
            children = [FORK.Process(target=read, args=(folder, event)) for event in events]
            for child, event in zip(children, events, strict=True):
                child.start()
                event.wait()
            publish = stream.write_block if case.block > 1 else stream.write
            pace = Pace(case)
            while time.monotonic_ns() - pace.began < case.seconds * 1e9:
                publish(pace.next(frame, case.block))
            written = pace.rate
            while any(child.is_alive() for child in children) and results.qsize() < len(children):
                publish(pace.next(frame, case.block))  # the readers' time is not over yet
        found = [results.get() for _ in children]
        for child in children:
            child.join()
    mean = {
        key: float(np.mean([told[key] for told in found])) if found[0][key] is not None else None
        for key in found[0]
    }
    return {"written": written, **mean}


def wakeup(case: Case) -> Told:
    """What the kernel takes to wake another process, without any frame: the limit of latencies."""
    shared = np.frombuffer(mmap.mmap(-1, mmap.PAGESIZE), case.dtype)[: 64 // 8]
    bell, results = os.eventfd(0), FORK.Queue()

    def read() -> None:
        tally, more = Tally(case), True
        while more:
            os.eventfd_read(bell)
            more = not tally.add(time.monotonic_ns(), shared)
        results.put(tally.told())

    reader = FORK.Process(target=read)
    reader.start()
    pace = Pace(case)
    while results.empty():
        pace.next(shared)
        os.eventfd_write(bell, 1)
    reader.join()
    os.close(bell)
    return {"written": pace.rate, **results.get()}


def magscope(case: Case) -> Told:
    """VideoBuffer, one writer and one reader; its cameras pass `image.tobytes()`."""
    from magscope.datatypes import BufferOverflow, BufferUnderflow, VideoBuffer

    buffer = VideoBuffer(
        create=True,
        locks={"VideoBuffer": FORK.Lock()},
        n_stacks=max(8, min(256, MEMORY // case.nbytes)),
        width=case.shape[1],
        height=case.shape[0],
        n_images=1,
        bits=8 * np.dtype(case.dtype).itemsize,
    )
    over = FORK.Event()
    results: Any = FORK.Queue()

    def write(over: Event) -> None:
        frame, pace = np.zeros(case.shape, case.dtype), Pace(case)
        while not over.is_set():
            pace.next(frame)
            while not over.is_set():
                try:
                    buffer.write_image_and_timestamp(frame.tobytes(), 0.0)
                except BufferOverflow:
                    continue
                break
        results.put(pace.rate)

    writer = FORK.Process(target=write, args=(over,))
    try:
        writer.start()
        tally, more = Tally(case), True
        while more:
            try:
                image, _ = buffer.read_image()
            except BufferUnderflow:
                continue  # it has nothing to wait on
            more = not tally.add(time.monotonic_ns(), image.T)
        over.set()
        written = results.get()
        writer.join()
        return {"written": written, **tally.told()}
    finally:
        writer.kill()
        for memory in (buffer._shm, buffer._ts_shm, buffer._idx_shm, buffer._shm_info):
            memory.unlink()  # it never does so itself


def crappy(case: Case) -> Told:
    """The Camera block and a process that is given its newest image, copied."""
    import crappy as peer
    from crappy.blocks.camera_processes import CameraProcess

    results: Any = FORK.Queue()
    over = FORK.Event()

    class Bench(peer.camera.Camera):
        def open(self) -> None:
            self.frame = np.zeros(case.shape, case.dtype)
            self.pace: Pace | None = Pace(case)

        def get_image(self) -> tuple[float, np.ndarray[Any, Any]] | None:
            if over.is_set():
                if self.pace is not None:
                    results.put(("written", self.pace.rate))
                    self.pace = None
                return None
            return time.time(), self.pace.next(self.frame)

        def close(self) -> None:
            pass

    class Consumer(CameraProcess):
        def init(self) -> None:
            self.tally: Tally | None = Tally(case)

        def loop(self) -> None:
            if self.tally is not None and self.tally.add(time.monotonic_ns(), self.img):
                over.set()
                results.put(("read", self.tally.told()))
                self.tally = None

    class Block(peer.blocks.Camera):
        def prepare(self) -> None:
            self.process_proc = Consumer()
            super().prepare()

    def run() -> None:
        block = Block(
            "Bench", config=False, img_shape=case.shape, img_dtype=case.dtype, freq=None, debug=None
        )
        peer.start(log_level=10)
        del block

    program = FORK.Process(target=run)
    program.start()
    found = dict(results.get(timeout=60) for _ in range(2))
    for process in [*psutil.Process(program.pid).children(recursive=True), program]:
        process.kill()  # told to stop, it may take ten seconds
    program.join()
    return {"written": found["written"], **found["read"]}


def main() -> None:
    """Measure one program in one case."""
    program, text = sys.argv[1:]
    case = Case(**{**json.loads(text), "shape": tuple(json.loads(text)["shape"])})
    programs = {"marey": marey, "crappy": crappy, "magscope": magscope, "wakeup": wakeup}
    measure = programs[program]
    print(json.dumps(measure(case)), flush=True)


if __name__ == "__main__":
    main()
