"""Readers that stand still, sleep, come late or early; signals to those who wait."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from marey.stream import Source, Spec, Stream
from support.processes import Child, child
from support.ringers import READER, WRITER

SPEC = Spec((64, 64), np.dtype("u4"))
SLEEPER = """
    import sys
    from marey.stream import Source, Spec, Stream
    import numpy as np
    kind, folder = sys.argv[1:3]
    if kind == "writer":
        stream = Stream(folder, "cam", Spec((64, 64), np.dtype("u4")), slots=8, lossless=True)
        slow = Source(folder, "cam", reader="slow").every()
        stream.write_block(np.zeros((8, 64, 64), "u4"))
        act = stream.lend
    elif kind == "any":
        from marey._native import Doorbell, rung, wait_any
        readers = [Source(folder, "cam", reader="sleeper").every() for _ in range(2)]
        bell = Doorbell()
        act = lambda: wait_any(readers, bell, rung(bell), 1e9)
    elif kind == "missing":
        act = Source(folder, "other").wait
    else:
        act = Source(folder, "cam", reader="sleeper").every().read
    print("asleep", flush=True)
    try:
        act()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    else:
        print("awake", flush=True)
"""


def stop(one: Child) -> None:
    """SIGSTOP it and wait until it has stopped."""
    os.kill(one.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, one.pid, os.WSTOPPED | os.WNOWAIT)


def test_a_stopped_reader_does_not_hold_the_writer(runtime: Path) -> None:
    with (
        child(WRITER, runtime, 8) as writer,
        child(READER, runtime, "stopped", "every", "free") as stopped,
        child(READER, runtime, "other", "every", "free") as other,
    ):
        writer.hear()
        for reader in (stopped, other):
            assert [reader.hear(), reader.hear()] == ["waiting", "attached"]
        stopped.tell(5)
        other.tell(5)
        assert writer.ask("write 5") == "5"
        assert [stopped.hear(), other.hear()] == ["5 0 0 4", "5 0 0 4"]
        stop(stopped)
        # Many laps of the ring, a lap at a time read by the one that is not stopped.
        for lap in range(1, 101):
            assert writer.ask("write 8") == str(5 + 8 * lap)
            assert other.ask(8) == f"8 0 0 {4 + 8 * lap}"
        os.kill(stopped.pid, signal.SIGCONT)
        assert stopped.ask(4) == "4 796 0 804"
        (account,) = [a for a in Source(runtime, "cam").ring.accounts() if a["name"] == "stopped"]
        assert (account["received"], account["lost"]) == (9, 796)


def test_a_lossless_writer_waits_for_a_stopped_reader_and_names_it(runtime: Path) -> None:
    with (
        child(WRITER, runtime, 8, "lossless") as writer,
        child(READER, runtime, "stopped", "every", "free") as stopped,
    ):
        writer.hear()
        assert [stopped.hear(), stopped.hear()] == ["waiting", "attached"]
        stop(stopped)
        assert writer.ask("write 8") == "8"
        assert writer.ask("try") == "no room: stopped"
        writer.tell("write 100")
        stopped.tell(108)
        os.kill(stopped.pid, signal.SIGCONT)
        assert stopped.hear() == "108 0 0 107"
        assert writer.hear() == "108"


@pytest.mark.parametrize("kind", ["reader", "any", "writer", "missing"])
def test_waiting_costs_no_cpu_and_can_be_interrupted(runtime: Path, kind: str) -> None:
    if kind != "writer":
        Stream(runtime, "cam", SPEC, slots=8).close(ended=False)
    with child(SLEEPER, kind, runtime) as sleeper:
        assert sleeper.hear() == "asleep"
        process = psutil.Process(sleeper.pid)
        while process.status() != psutil.STATUS_SLEEPING:
            pass
        before = process.cpu_times()
        time.sleep(1)  # not to wait for something: this is the second that is measured
        after = process.cpu_times()
        used = after.user + after.system - before.user - before.system
        assert used <= 0.1  # s, of which the clock counts hundredths; spinning would use 1
        os.kill(sleeper.pid, signal.SIGINT)
        assert sleeper.hear() == "interrupted"
        sleeper.end()


def test_a_reader_may_come_before_the_stream_and_another_late(runtime: Path) -> None:
    with child(READER, runtime, "early", "every", "free") as early:
        assert early.hear() == "waiting"
        with child(WRITER, runtime, 64) as writer:
            assert writer.hear() == "open"
            assert early.hear() == "attached"
            assert writer.ask("write 10") == "10"
            assert early.ask(10) == "10 0 0 9"
            with child(READER, runtime, "late", "every", "free") as late:
                assert [late.hear(), late.hear()] == ["waiting", "attached"]
                assert late.ask(10) == "10 0 0 9"
            writer.kill()
        # The writer is dead; another goes on, and the early one need not care.
        with child(WRITER, runtime, 64) as writer:
            assert writer.hear() == "open"
            assert writer.ask("write 5") == "15"
            assert early.ask(5) == "5 0 0 14"
            early.end()


def test_a_sleeping_reader_is_woken_by_the_next_item(runtime: Path) -> None:
    with Stream(runtime, "cam", SPEC, slots=8) as stream:
        with child(SLEEPER, "reader", runtime) as sleeper:
            assert sleeper.hear() == "asleep"
            stream.write(np.zeros((64, 64), "u4"))
            assert sleeper.hear() == "awake"
            sleeper.end()
        with child(SLEEPER, "any", runtime) as sleeper:
            assert sleeper.hear() == "asleep"
            stream.write(np.zeros((64, 64), "u4"))
            assert sleeper.hear() == "awake"
            sleeper.end()
