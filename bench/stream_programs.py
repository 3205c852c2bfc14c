"""One writer and its readers in marey and in its peers, each in processes of its own.

Run by `stream.py` as `python stream_programs.py PROGRAM '{"shape": [64, 64], ...}'` with the fields
of `Case`; prints `{"written": frames/s, "read": frames/s of each reader, "p50": us, "p99": us}`.
At a set rate the time at which the camera had the frame stands in its first eight bytes, so that
latencies are one-way, copies included; free running nothing is stamped and there are no latencies.
What the peers do is in `stream_peers.py`.
"""

from __future__ import annotations

import json
import mmap
import os
import sys
import tempfile
import time
from multiprocessing.synchronize import Event
from typing import Any

import numpy as np

import stream_peers
from stream_case import FORK, MEMORY, Case, Pace, Tally, Told


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


def main() -> None:
    """Measure one program in one case."""
    program, text = sys.argv[1:]
    case = Case(**{**json.loads(text), "shape": tuple(json.loads(text)["shape"])})
    own = {"marey": marey, "wakeup": wakeup}
    measure = own[program] if program in own else getattr(stream_peers, program)
    print(json.dumps(measure(case)), flush=True)


if __name__ == "__main__":
    main()
