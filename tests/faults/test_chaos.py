"""Whole sessions under random faults; at the end every frame is accounted for.

A few seconds each; `make chaos` lets them run for minutes. `MAREY_CHAOS_SEED` repeats a run, as far
as a machine does the same twice.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from marey import Lab, Session, open_recording
from marey.cameras.counter import Counter
from marey.errors import MareyError
from marey.recording import Recording
from marey.sinks.recorder import Recorder
from support.balance import check_balance, check_recording
from support.nodes import Keep, Sum
from support.waiting import eventually

SECONDS = float(os.environ.get("MAREY_CHAOS_SECONDS", "5"))
SEED = int(os.environ.get("MAREY_CHAOS_SEED", time.time_ns() % 10**6))

pytestmark = pytest.mark.timeout(120 + 4 * SECONDS)


class Chaos:
    """Does one thing after another to the nodes of a session, at random."""

    def __init__(self, lab: Lab, nodes: list[str]) -> None:
        self.lab = lab
        self.nodes = nodes
        self.random = random.Random(SEED)
        self.deaths = 0

    def run(self, seconds: float) -> None:
        """Go on for some seconds, then see all nodes run again."""
        deeds: list[Callable[[str], None]] = [self.kill, self.stop, self.stall, self.drop]
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(self.random.uniform(0.0, 0.3))  # the pace of the faults
            with suppress(MareyError, ProcessLookupError):  # it is away just now
                self.random.choice(deeds)(self.random.choice(self.nodes))
        eventually(self.all_run, timeout=60)

    def pid(self, node: str) -> int:
        """Its process; raises ProcessLookupError where it has none."""
        pid = self.lab.status()["nodes"][node]["pid"]
        if pid is None:
            raise ProcessLookupError
        return int(pid)

    def kill(self, node: str) -> None:
        """SIGKILL."""
        os.kill(self.pid(node), signal.SIGKILL)
        self.deaths += 1

    def stop(self, node: str) -> None:
        """SIGSTOP, and SIGCONT soon or late."""
        pid = self.pid(node)
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(self.random.choice([0.01, 0.1, 0.7]))  # for so long it is stopped
        finally:
            os.kill(pid, signal.SIGCONT)

    def stall(self, _: str) -> None:
        """The camera gives no frames for a while."""
        self.lab.cam.set(stall_at=self.lab.cam.head + 20, stall_for=0.3)

    def drop(self, _: str) -> None:
        """The camera loses frames, or gives them twice."""
        self.lab.cam.set(
            drop_every=self.random.choice([0, 7, 101]),
            repeat_every=self.random.choice([0, 13]),
        )

    def all_run(self) -> bool:
        """Whether nobody is away."""
        return all(n["state"] == "running" for n in self.lab.status()["nodes"].values())


def check_device(recording: Recording, lost: int, repeated: int) -> None:
    """All of the device's frames that are not in the recording are told as lost by the device.

    Holds where every published item was recorded: the numbers of two neighbours tell the rest.
    """
    stamps = recording["cam"].stamps
    assert len(stamps) == int(stamps["seq"][-1]) + 1
    same = np.diff(recording["cam"].epochs.astype(np.int64)) == 0
    steps = np.diff(stamps["device_frame"].astype(np.int64))[same]
    assert (steps >= 0).all()
    assert int((steps - 1)[steps > 0].sum()) == lost
    assert int((steps == 0).sum()) == repeated


@pytest.mark.parametrize("rate", [300, 3000])
def test_a_session_under_random_faults(runtime: Path, tmp_path: Path, rate: float) -> None:
    print(f"seed {SEED}")
    session = Session(
        "bench",
        cam=Counter(rate=rate, buffer="65536 frames", device_buffer=100_000),
        sums=Sum(source="cam"),
        tenths=Sum(source="sums"),
        rec=Recorder(sources=["cam", "sums"], folder=str(tmp_path / "data"), autostart=True),
        keep=Keep(file=str(tmp_path / "kept"), sources=["tenths"], pixels=False),
    )
    with session.running() as lab:
        chaos = Chaos(lab, ["cam", "sums", "tenths", "rec", "keep"])
        chaos.run(SECONDS)
        head = lab.cam.head
        eventually(lambda: lab.cam.head > head + 50)
    ledger = session.ledger
    check_balance(ledger)
    (run,) = (tmp_path / "data").iterdir()
    recording = open_recording(run)
    check_recording(recording, ledger, "rec")
    cam = ledger["streams"]["cam"]
    assert cam["readers"]["rec"]["lost"] == 0  # its ring was long enough for all faults
    check_device(recording, cam["device_lost"], cam["device_repeated"])
    # Every frame has its sum, once, and it is right.
    sums = recording["sums"]
    assert sums.stamps["source_seq"].tolist() == list(range(cam["published"]))
    assert sum(n["restarts"] for n in ledger["nodes"].values()) == chaos.deaths


@contextmanager
def hog(ring: str) -> Iterator[None]:
    """Other work that takes the processors away, now and then."""
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            sum(range(100_000))

    threads = [threading.Thread(target=work, name=f"hog-{ring}-{i}") for i in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_readers_that_cannot_keep_up_lose_exactly_what_is_told(
    runtime: Path, tmp_path: Path
) -> None:
    """A ring that is too short for the readers: losses of all kinds, and the sums still agree."""
    print(f"seed {SEED}")
    session = Session(
        "bench",
        cam=Counter(rate=5000, buffer="32 frames", device_buffer=64),
        slow=Sum(source="cam", slow=0.002),
        sums=Sum(source="cam"),
        rec=Recorder(sources=["cam", "sums"], folder=str(tmp_path / "data"), autostart=True),
    )
    with session.running() as lab, hog("cam"):
        Chaos(lab, ["slow", "sums", "rec"]).run(SECONDS)
    ledger = session.ledger
    check_balance(ledger)
    assert ledger["streams"]["cam"]["readers"]["slow"]["lost"] > 0
    (run,) = (tmp_path / "data").iterdir()
    check_recording(open_recording(run), ledger, "rec")
