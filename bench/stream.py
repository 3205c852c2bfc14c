"""What the ring costs and gives, beside memcpy and its peers (see `stream_peers.py`).

    python bench/stream.py [SECONDS]

SECONDS (1.5) is the length of each measurement of a program. Each is repeated in turn with its
peers, and the median is told.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from marey.stream import Source, Spec, Stream
from report import Row, report
from stream_case import MEMORY, Case, Told

SIZES: list[tuple[tuple[int, int], str]] = [
    ((64, 64), "u1"),
    ((512, 512), "u1"),
    ((2048, 2048), "u2"),
]
Programs = dict[str, tuple[str, dict[str, Any]]]
"""What is measured: which program, and with which fields of its `Case`."""
BLOCKS = {64: 256, 512: 16}
"""Frames of a block by the height of a frame; larger frames gain nothing by blocks."""
PEERS = ("iceoryx2", "lock", "crappy", "magscope")
REPEATS = 5


def run(program: str, case: Case) -> Told:
    """Measure a program in processes of its own."""
    script = Path(__file__).with_name("stream_programs.py")
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", str(script), program, json.dumps(asdict(case))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            out, complaint = process.communicate(timeout=60)
        except subprocess.TimeoutExpired as late:
            raise RuntimeError(f"{program}: did not end within {late.timeout:g} s") from late
        finally:  # with what it started
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        raise RuntimeError(f"{program}: {complaint.strip().splitlines()[-1]}")
    told: Told = json.loads(out.splitlines()[-1])
    return told


def per_second(make: Callable[[], object], seconds: float = 0.3) -> float:
    """How often `make()` runs in a second."""
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        for _ in range(8):
            make()
        count += 8
    return count / (time.perf_counter() - start)


def writing(shape: tuple[int, int], dtype: str) -> dict[str, float]:
    """Frames per second of memcpy into as much memory, and of the ring with nobody reading."""
    spec = Spec(shape, np.dtype(dtype))
    slots = max(16, min(MEMORY // spec.nbytes, 16384))
    frame = np.ones(shape, dtype)
    plain = np.zeros((slots, *shape), dtype)
    plain[:] = 1  # memory is given at its first touch
    at = iter(range(2**62))
    block = np.ones((BLOCKS.get(shape[0], 1), *shape), dtype)
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm") as folder,
        Stream(folder, "cam", spec, slots=slots) as stream,
    ):
        for _ in range(slots):
            stream.write(frame)
        tries: dict[str, list[float]] = {"memcpy": [], "one by one": [], "in blocks": []}
        for _ in range(REPEATS):
            copy = per_second(lambda: np.copyto(plain[next(at) % slots], frame))
            tries["memcpy"].append(copy)
            tries["one by one"].append(per_second(lambda: stream.write(frame)))
            rate = len(block) * per_second(lambda: stream.write_block(block))
            tries["in blocks"].append(rate)
    ratios = (w / c for w, c in zip(tries["one by one"], tries["memcpy"], strict=True))
    return {name: statistics.median(v) for name, v in tries.items()} | {
        "ratio": statistics.median(ratios)
    }


def reading(shape: tuple[int, int], dtype: str) -> float:
    """Microseconds of Python for each frame that is read and looked at."""
    spec = Spec(shape, np.dtype(dtype))
    slots = max(512, min(MEMORY // spec.nbytes, 16384))
    frame, costs = np.ones(shape, dtype), []
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm") as folder,
        Stream(folder, "cam", spec, slots=slots) as stream,
    ):
        kept = stream.slots
        for _ in range(kept):
            stream.write(frame)
        for _ in range(max(REPEATS, 20000 // kept)):
            with Source(folder, "cam").every(start="oldest") as reader:
                start = time.thread_time_ns()
                for _ in range(kept):
                    _ = reader.read().data
                costs.append((time.thread_time_ns() - start) / 1e3 / kept)
    return statistics.median(costs)


class Table:
    """The figures of all programs in all cases, taken in turn."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.failed: dict[str, str] = {}

    def measure(self, programs: Programs, **case: Any) -> dict[str, Told]:
        """The median of each figure of each program; programs that fail are left out."""
        found: dict[str, list[Told]] = {name: [] for name in programs}
        for _ in range(3):
            for name, (program, more) in programs.items():
                if program in self.failed:
                    continue
                try:
                    told = run(program, Case(seconds=self.seconds, **case, **more))
                except RuntimeError as error:
                    self.failed[program] = str(error)
                else:
                    found[name].append(told)
        return {
            name: {
                key: statistics.median(values)
                if None not in (values := [told[key] for told in tries])
                else None
                for key in tries[0]
            }
            for name, tries in found.items()
            if tries
        }


def size_rows(table: Table, shape: tuple[int, int], dtype: str) -> list[Row]:
    """All figures of one size of frames."""
    size = f"{shape[0]}x{shape[1]} {np.dtype(dtype).name}"
    small = shape == (64, 64)
    alone = writing(shape, dtype)
    goals = {"one by one": 300_000.0, "in blocks": 1_000_000.0} if small else {}
    rows = [
        Row(f"{size}: memcpy", alone["memcpy"], "frames/s", note="the limit"),
        Row(
            f"{size}: written one by one", alone["one by one"], "frames/s", goals.get("one by one")
        ),
        Row(f"{size}: written in blocks", alone["in blocks"], "frames/s", goals.get("in blocks")),
        Row(
            f"{size}: written one by one, in memcpys",
            alone["ratio"],
            "x",
            0.9 if shape == (2048, 2048) else None,
        ),
        Row(f"{size}: read, of Python's time", reading(shape, dtype), "us/frame", at_most=1),
    ]
    block = BLOCKS.get(shape[0], 1)
    programs: Programs = {
        "marey": ("marey", {}),
        "marey in blocks": ("marey", {"block": block}),
        "marey, 3 readers": ("marey", {"block": block, "readers": 3}),
        **{peer: (peer, {}) for peer in PEERS},
    }
    free = table.measure(programs, shape=shape, dtype=dtype, rate=0)
    for name, told in free.items():
        rows.append(Row(f"{size}, free running: {name} writes", told["written"], "frames/s"))
        rows.append(Row(f"{size}, free running: {name} reads", told["read"], "frames/s each"))
    for peer in PEERS:
        if peer in free and free["marey in blocks"]["read"]:
            ratio = free["marey in blocks"]["read"] / (free[peer]["read"] or 1)
            rows.append(Row(f"{size}, free running: marey reads, in {peer}s", ratio, "x"))
    paced = {name: programs[name] for name in ("marey", *PEERS)}
    paced["bare wake-up"] = ("wakeup", {})
    paced["marey, 3 readers"] = ("marey", {"readers": 3})
    at_1_khz = table.measure(paced, shape=shape, dtype=dtype, rate=1000)
    if small:
        ratio = (at_1_khz["marey"]["p50"] or 0) / (at_1_khz["bare wake-up"]["p50"] or 1)
        rows.append(Row(f"{size}, 1 kHz: marey p50, in bare wake-ups", ratio, "x"))
    for name, told in at_1_khz.items():
        if name == "bare wake-up":
            rows += [
                Row(f"{size}, 1 kHz: {name} {which}", told[which], "us", note="the limit")
                for which in ("p50", "p99")
            ]
            continue
        one = small and name == "marey"
        rows += [
            Row(f"{size}, 1 kHz: {name} writes", told["written"], "frames/s"),
            Row(f"{size}, 1 kHz: {name} reads", told["read"], "frames/s each"),
            Row(f"{size}, 1 kHz: {name} p50", told["p50"], "us", at_most=15 if one else None),
            Row(f"{size}, 1 kHz: {name} p99", told["p99"], "us", at_most=100 if one else None),
        ]
    return rows


def main() -> int:
    """Measure everything; 1 where a goal was missed."""
    table = Table(float(sys.argv[1]) if len(sys.argv) > 1 else 1.5)
    rows = [row for shape, dtype in SIZES for row in size_rows(table, shape, dtype)]
    rows += [Row(program, None, "", note=why) for program, why in table.failed.items()]
    return 0 if report("stream", rows) else 1


if __name__ == "__main__":
    sys.exit(main())
