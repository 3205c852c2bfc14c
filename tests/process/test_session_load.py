"""What a session and those who attach to it cost over time: nothing that grows."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import psutil

import marey
from marey import Session
from support.nodes import Keep, Motor, Sum, Ticker
from support.waiting import eventually


def held(pid: int) -> tuple[int, int, int]:
    """Descriptors, threads and memory maps of a process."""
    process = psutil.Process(pid)
    return process.num_fds(), process.num_threads(), len(process.memory_maps(grouped=False))


def test_twenty_sessions_after_each_other_leave_nothing(runtime: Path, tmp_path: Path) -> None:
    before: tuple[int, int, int] | None = None
    for i in range(20):
        session = Session(
            "bench",
            cam=Ticker(rate=1000, frames=20),
            sums=Sum(source="cam"),
            keep=Keep(file=str(tmp_path / f"{i}")),
        )
        if i % 2:
            session.run()
        else:
            with session.running() as lab, lab.events() as events:
                for event in events:
                    if (event.node, event.data.get("state")) == ("cam", "ended"):
                        break
        del session
        gc.collect()
        assert list(runtime.iterdir()) == []
        now = held(os.getpid())
        if i == 3:
            before = now
        if before is not None:
            assert now[:2] == before[:2]
            assert now[2] <= before[2] + 5


def test_attaching_and_detaching_costs_nothing(runtime: Path) -> None:
    session = Session("bench", cam=Ticker(), sums=Sum(source="cam"), motor=Motor())
    with session.running() as lab:
        pids = [facts["pid"] for facts in lab.status()["nodes"].values()]

        def visit() -> None:
            with marey.attach("bench") as mine:
                with mine.cam.every() as reader, mine.sums.latest() as newest:
                    assert reader.read(10) is not None
                    assert newest.read(10) is not None
                with mine.events() as events:
                    mine.motor.move(to=1)
                    assert events.next(10) is not None
                mine.status()
                mine.ledger()
                mine.cam.describe()
                mine.motor.move(to=0)

        for _ in range(10):
            visit()
        gc.collect()
        eventually(lambda: len(lab.ledger()["streams"]["cam"]["readers"]) == 1)
        before = {pid: held(pid) for pid in (*pids, os.getpid())}
        for _ in range(50):
            visit()
        gc.collect()
        for pid, (fds, threads, maps) in before.items():
            # Sockets of those who left are closed a moment later.
            eventually(lambda pid=pid, fds=fds: held(pid)[0] <= fds)  # type: ignore[misc]
            assert held(pid)[1] <= threads
            assert held(pid)[2] <= maps + 5
        # Those who left have left no account either.
        assert list(lab.ledger()["streams"]["cam"]["readers"]) == ["sums"]


def test_memory_does_not_grow_with_frames_and_commands(runtime: Path) -> None:
    """After the first thousands many more change nothing; a leak of one object each would show."""
    session = Session("bench", cam=Ticker(rate=20_000), sums=Sum(source="cam"), motor=Motor())
    with session.running() as lab:
        nodes = lab.status()["nodes"]

        def work(frames: int) -> dict[str, int]:
            until = lab.cam.head + frames
            for i in range(400):
                lab.cam.set(offset=i % 2 + 100)
                lab.motor.move(to=i % 2)
                lab.set(mode=f"m{i % 2}")
            eventually(lambda: lab.cam.head >= until, timeout=60)
            return {
                name: psutil.Process(facts["pid"]).memory_full_info().uss
                for name, facts in nodes.items()
            }

        before = work(10_000)
        after = work(30_000)
    for name in before:
        assert after[name] - before[name] < 2 * 2**20, (name, before[name], after[name])
