"""What marey's peers do: iceoryx2, a lock around shared memory, MagScope, CRAPPY.

They are optional, installed by the extra `bench`, and used through their public interface.
"""

from __future__ import annotations

import ctypes
import time
import uuid
from multiprocessing.shared_memory import SharedMemory
from multiprocessing.synchronize import Event
from typing import Any

import numpy as np
import psutil

from stream_case import FORK, MEMORY, Case, Pace, Tally, Told


def iceoryx2(case: Case) -> Told:
    """Publish and subscribe; free running the reader polls, at a set rate an event wakes it."""
    import iceoryx2 as iox2

    name = uuid.uuid4().hex
    results: Any = FORK.Queue()
    ready = FORK.Event()

    def services() -> tuple[Any, Any, Any]:
        node = iox2.NodeBuilder.new().create(iox2.ServiceType.Ipc)
        frames = (
            node.service_builder(iox2.ServiceName.new(f"{name}/frames"))
            .publish_subscribe(iox2.Slice[ctypes.c_uint8])
            .subscriber_max_buffer_size(16)
            .open_or_create()
        )
        events = node.service_builder(iox2.ServiceName.new(f"{name}/events")).event()
        return node, frames, events.open_or_create()

    def read() -> None:
        node, frames, events = services()
        subscriber = frames.subscriber_builder().create()
        listener = events.listener_builder().create()
        tally, more = Tally(case), True
        ready.set()
        while more:
            if case.rate:
                listener.timed_wait(iox2.Duration.from_millis(100))
            while more and (sample := subscriber.receive()) is not None:
                now = time.monotonic_ns()
                view = np.frombuffer(sample.payload().as_memory_view(), case.dtype)
                more = not tally.add(now, view)
        results.put(tally.told())
        del subscriber, listener, frames, events, node

    reader = FORK.Process(target=read)
    reader.start()
    ready.wait()
    node, frames, events = services()
    publisher = frames.publisher_builder().initial_max_slice_len(case.nbytes).create()
    notifier = events.notifier_builder().create()
    frame, pace = np.zeros(case.shape, case.dtype), Pace(case)
    while results.empty():
        pace.next(frame)
        sample = publisher.loan_slice_uninit(case.nbytes)
        ctypes.memmove(sample.payload_ptr, frame.ctypes.data, case.nbytes)
        sample.assume_init().send()
        if case.rate:
            notifier.notify()
    written = pace.rate
    reader.join()
    del publisher, notifier, frames, events, node
    return {"written": written, **results.get()}


def lock(case: Case) -> Told:
    """One frame in `multiprocessing.shared_memory`, a condition around it: the usual script."""
    memory = SharedMemory(create=True, size=case.nbytes)
    shared = np.ndarray(case.shape, case.dtype, memory.buf)
    fresh, number = FORK.Condition(), FORK.Value("q", 0, lock=False)
    results: Any = FORK.Queue()

    def read() -> None:
        tally, more, seen = Tally(case), True, 0
        own = np.zeros_like(shared)
        while more:
            with fresh:
                while number.value == seen:
                    fresh.wait()
                seen = number.value
                np.copyto(own, shared)
            more = not tally.add(time.monotonic_ns(), own)
        results.put(tally.told())

    reader = FORK.Process(target=read)
    reader.start()
    frame, pace = np.zeros(case.shape, case.dtype), Pace(case)
    while results.empty():
        pace.next(frame)
        with fresh:
            np.copyto(shared, frame)
            number.value += 1
            fresh.notify_all()
    written = pace.rate
    reader.join()
    shared = frame  # or the memory cannot be closed
    memory.close()
    memory.unlink()
    return {"written": written, **results.get()}


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
