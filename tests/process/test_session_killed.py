"""SIGKILL at any moment: of a node, of the guard, of the supervisor, of all of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

import marey
from marey import Lab, Session
from marey.lab import read_session
from support.nodes import Keep, Motor, Sum, Ticker
from support.waiting import eventually, kept

SCRIPT = """
    import sys
    from marey import Session
    from support.nodes import Keep, Motor, Sum, Ticker

    session = Session(
        "bench",
        cam=Ticker(rate=300),
        sums=Sum(source="cam"),
        motor=Motor(interval=0.05),
        keep=Keep(file=sys.argv[1]),
    )
    session.run(on_ready=lambda name: print(name, flush=True))
    print("over", flush=True)
"""


@contextmanager
def script(tmp_path: Path, code: str = SCRIPT) -> Iterator[subprocess.Popen[str]]:
    """A session in a process of its own; entered when it runs."""
    file = tmp_path / "session.py"
    file.write_text(textwrap.dedent(code))
    tests = Path(__file__).resolve().parents[1]
    process = subprocess.Popen(
        [sys.executable, str(file), str(tmp_path / "kept")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(tests)},
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def family(folder: Path) -> dict[str, int]:
    """The processes of a session by name."""
    facts = read_session(folder)
    assert facts is not None
    found = {"supervisor": facts["owner"] >> 32, "guard": int(facts["guard"].partition(" ")[0])}
    with marey.attach(folder.name) as lab:
        found |= {name: node["pid"] for name, node in lab.status()["nodes"].items()}
    return found


def living(pids: dict[str, int]) -> list[str]:
    """Those that are there and not zombies."""
    return [name for name, pid in pids.items() if _lives(pid)]


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def gone(folder: Path, pids: dict[str, int]) -> bool:
    """Whether nothing is left of a session."""
    return not living(pids) and not folder.exists() and list(folder.parent.iterdir()) == []


# ---------------------------------------------------------------- the supervisor


def test_a_killed_supervisor_leaves_nothing_after_two_seconds(
    runtime: Path, tmp_path: Path
) -> None:
    with script(tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "bench\n"
        pids = family(runtime / "bench")
        assert len(living(pids)) == 6
        process.kill()
        process.wait()
        eventually(lambda: gone(runtime / "bench", pids), timeout=2.0)


def test_the_same_session_starts_again_at_once(runtime: Path, tmp_path: Path) -> None:
    for _ in range(3):
        with script(tmp_path) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "bench\n"
            pids = family(runtime / "bench")
            process.kill()
    # Now one that stays: what is left of the killed ones must not touch it.
    with script(tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "bench\n"
        eventually(lambda: not living(pids), timeout=5.0)
        with marey.attach("bench") as lab:
            for _ in range(3):
                assert lab.cam.get("rate") == 300.0
                with lab.cam.every() as reader:
                    assert reader.read(10) is not None
                assert lab.motor.move(to=2) == 2.0
                lab.set(mode="again")
            with lab.events() as events:
                lab.cam.set(exposure=0.25)
                assert next(e for e in events if e.kind == "setting").node == "cam"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert (out, err, process.returncode) == ("over\n", "", 0)
    assert list(runtime.iterdir()) == []


def test_stopped_nodes_die_with_their_supervisor(runtime: Path, tmp_path: Path) -> None:
    with script(tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        pids = family(runtime / "bench")
        for name in ("cam", "sums", "keep"):
            os.kill(pids[name], signal.SIGSTOP)
        process.kill()
        process.wait()
        eventually(lambda: gone(runtime / "bench", pids), timeout=2.5)


def test_a_supervisor_killed_while_it_starts_leaves_nothing(runtime: Path, tmp_path: Path) -> None:
    code = SCRIPT.replace("rate=300", 'rate=300, opening="sleep 30"')
    with script(tmp_path, code) as process:
        eventually(lambda: len(_nodes_of(runtime / "bench")) == 4)
        pids = {str(pid): pid for pid in _nodes_of(runtime / "bench")}
        process.kill()
        process.wait()
        eventually(lambda: gone(runtime / "bench", pids), timeout=2.5)


def test_supervisor_and_guard_killed_at_once(runtime: Path, tmp_path: Path) -> None:
    """Nodes see their supervisor gone and end; the next start cleans the folder."""
    with script(tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        pids = family(runtime / "bench")
        os.kill(pids["sums"], signal.SIGSTOP)
        os.kill(pids["guard"], signal.SIGKILL)
        process.kill()
        process.wait()
        eventually(lambda: living(pids) == ["sums"])
    with Session("bench", cam=Ticker()).running() as lab:
        assert lab.name == "bench"
        assert living(pids) == []
        assert lab.cam.get("rate") == 500.0
    assert list(runtime.iterdir()) == []


def test_a_fork_that_outlives_the_supervisor_does_not_keep_its_nodes_alive(
    runtime: Path, tmp_path: Path
) -> None:
    """As multiprocessing makes: the fork holds the ends of all pipes."""
    code = SCRIPT.replace(
        "session.run(on_ready=lambda name: print(name, flush=True))",
        """
    import os, time
    def ready(name):
        if os.fork() == 0:
            print(name, os.getpid(), flush=True)
            time.sleep(60)
            os._exit(0)
    session.run(on_ready=ready)""",
    )
    with script(tmp_path, code) as process:
        assert process.stdout is not None
        name, fork = process.stdout.readline().split()
        try:
            assert name == "bench"
            pids = family(runtime / "bench")
            process.kill()
            process.wait()
            eventually(lambda: gone(runtime / "bench", pids), timeout=3.0)
        finally:
            os.kill(int(fork), signal.SIGKILL)


# ---------------------------------------------------------------- the guard


def test_a_killed_guard_is_replaced(runtime: Path, tmp_path: Path) -> None:
    with script(tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        pids = family(runtime / "bench")
        os.kill(pids["guard"], signal.SIGKILL)
        guard = eventually(lambda: _guards_of(process.pid) - {pids["guard"]})
        assert living(pids) == [name for name in pids if name != "guard"]
        pids["guard"] = guard.pop()
        # The new one knows the nodes, also those that are stopped.
        os.kill(pids["cam"], signal.SIGSTOP)
        process.kill()
        process.wait()
        eventually(lambda: gone(runtime / "bench", pids), timeout=2.5)


def test_a_killed_guard_is_noted_and_costs_nothing(runtime: Path) -> None:
    session = Session("bench", cam=Ticker())
    with session.running() as lab:
        facts = read_session(lab.folder)
        assert facts is not None
        os.kill(int(facts["guard"].partition(" ")[0]), signal.SIGKILL)
        eventually(lambda: lab.ledger()["incidents"])
        with lab.cam.every() as reader:
            assert reader.read(10) is not None
    assert [i["text"] for i in session.ledger["incidents"]] == [
        "session: its guard had died; there is another now"
    ]
    assert list(runtime.iterdir()) == []


# ---------------------------------------------------------------- nodes


def watched(tmp_path: Path, **cam: Any) -> Session:
    return Session(
        "bench",
        cam=Ticker(rate=400, buffer="4096 frames", **cam),
        sums=Sum(source="cam"),
        motor=Motor(interval=0.02),
        keep=Keep(file=str(tmp_path / "kept"), sources=["cam", "sums"], pixels=False),
    )


def kill_node(lab: Lab, node: str) -> None:
    """Kill a node's process, and wait until another runs."""
    pid = lab.status()["nodes"][node]["pid"]
    os.kill(pid, signal.SIGKILL)
    eventually(
        lambda: (
            (now := lab.status()["nodes"][node])["pid"] not in (None, pid)
            and now["state"] == "running"
        )
    )


@pytest.mark.parametrize("node", ["cam", "sums", "motor", "keep"])
def test_each_node_is_killed_and_the_others_go_on(runtime: Path, tmp_path: Path, node: str) -> None:
    file = tmp_path / "kept"
    session = watched(tmp_path)
    with session.running() as lab:
        pids = {name: facts["pid"] for name, facts in lab.status()["nodes"].items()}
        with lab.cam.every() as mine:
            first = mine.read(10)
            assert first is not None
            for _ in range(3):
                eventually(lambda: len(kept(file, "sums")) > 20)
                kill_node(lab, node)
                head = lab.sums.head
                eventually(lambda head=head: lab.sums.head > head + 20)  # type: ignore[misc]
            after = {name: facts["pid"] for name, facts in lab.status()["nodes"].items()}
            assert {name for name in pids if pids[name] != after[name]} == {node}
            assert lab.status()["nodes"][node]["restarts"] == 3
            # A reader from outside is disturbed by none of it.
            head, seen = lab.cam.head, [first.seq]
            while seen[-1] < head - 1:
                frame = mine.read(10)
                assert frame is not None
                seen.append(frame.seq)
            assert seen == list(range(seen[0], head))
    ledger = session.ledger
    assert check_results(file) == []
    assert ledger["streams"]["cam"]["epoch"] == (4 if node == "cam" else 1)
    died = [i["text"] for i in ledger["incidents"] if i["what"] == "died"]
    assert died == [f"{node}: was ended by SIGKILL"] * 3
    assert [i for i in ledger["incidents"] if i["what"] == "lost"] == []
    for stream in ("cam", "sums"):
        head = ledger["streams"][stream]["published"]
        for reader in ledger["streams"][stream]["readers"].values():
            assert reader["lost"] == 0
            if reader["policy"] == "every":
                assert reader["received"] + reader["behind"] <= head


def check_results(file: Path) -> list[str]:
    """What is wrong with the order of what a `Keep` was given: nothing."""
    wrong = []
    for stream in ("cam", "sums"):
        items = kept(file, stream)
        # What was in the hands of a killed process is given once more to the one after it.
        seqs = [items[0]["seq"]]
        for before, item in pairwise(items):
            again = item["seq"] == before["seq"] and item["pid"] != before["pid"]
            if not again:
                seqs.append(item["seq"])
        if seqs != list(range(len(seqs))):
            wrong.append(f"{stream}: {seqs}")
    results = [item["source_seq"] for item in kept(file, "sums")]
    unique = sorted(set(results))
    if unique != list(range(len(unique))):
        wrong.append("results have a gap")
    return wrong


def test_a_processor_killed_for_long_names_exactly_what_it_lost(
    runtime: Path, tmp_path: Path
) -> None:
    """Its source laps it while it is away; results have a gap, and the ledger names it."""
    file = tmp_path / "kept"
    session = Session(
        "bench",
        cam=Ticker(rate=2000, buffer="256 frames"),
        sums=Sum(source="cam"),
        keep=Keep(file=str(file), sources=["sums"], pixels=False),
    )
    with session.running() as lab:
        eventually(lambda: len(kept(file)) > 20)
        kill_node(lab, "sums")
        head = lab.sums.head
        eventually(lambda: len(kept(file)) > head + 20)
    results = [item["source_seq"] for item in kept(file)]
    assert results == sorted(set(results))
    missing = set(range(results[-1])) - set(results)
    named: set[int] = set()
    for incident in session.ledger["incidents"]:
        if incident["what"] == "lost":
            assert (incident["stream"], incident["reader"]) == ("cam", "sums")
            named |= set(range(incident["first"], incident["first"] + incident["count"]))
    assert missing
    assert missing == {n for n in named if n < results[-1]}
    causes = [i["cause"] for i in session.ledger["incidents"] if i["what"] == "lost"]
    assert "the node was away" in causes
    assert session.ledger["streams"]["cam"]["readers"]["sums"]["lost"] == len(named)


@pytest.mark.parametrize("node", ["cam", "sums", "keep"])
def test_a_node_killed_between_the_steps_of_its_restart(
    runtime: Path, tmp_path: Path, node: str
) -> None:
    """Killed again and again as soon as its next process is there: the session lives through it."""
    session = watched(tmp_path)
    with session.running() as lab:
        eventually(lambda: lab.sums.head > 20)
        seen: set[int] = set()
        for wait in (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3):
            pid = eventually(
                lambda: (p := lab.status()["nodes"][node]["pid"]) not in (None, *seen) and p,
                timeout=60,
            )
            seen.add(pid)
            time.sleep(wait)  # to hit another step each time
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            if len(seen) == 4:
                break
        eventually(lambda: lab.status()["nodes"][node]["state"] == "running", timeout=60)
        head = lab.sums.head
        eventually(lambda: lab.sums.head > head + 20)
    assert check_results(tmp_path / "kept") == []


def test_stop_while_a_node_is_being_restarted(runtime: Path, tmp_path: Path) -> None:
    session = watched(tmp_path, opening="sleep 0.3")
    with session.running() as lab:
        eventually(lambda: lab.sums.head > 20)
        killed = ("cam", "motor", "sums")
        for node in killed:
            os.kill(lab.status()["nodes"][node]["pid"], signal.SIGKILL)
        eventually(lambda: all(lab.status()["nodes"][node]["restarts"] for node in killed))
    assert list(runtime.iterdir()) == []
    assert check_results(tmp_path / "kept") == []
    # The processor came back, and finished what the camera had left.
    results = [item["source_seq"] for item in kept(tmp_path / "kept", "sums")]
    assert results[-1] == session.ledger["streams"]["cam"]["published"] - 1


def test_all_nodes_killed_at_once(runtime: Path, tmp_path: Path) -> None:
    session = watched(tmp_path)
    with session.running() as lab:
        eventually(lambda: lab.sums.head > 20)
        for facts in lab.status()["nodes"].values():
            os.kill(facts["pid"], signal.SIGKILL)
        eventually(lambda: all(f["restarts"] == 1 for f in lab.status()["nodes"].values()))
        eventually(lambda: all(f["state"] == "running" for f in lab.status()["nodes"].values()))
        head = lab.sums.head
        eventually(lambda: lab.sums.head > head + 20)
    assert check_results(tmp_path / "kept") == []


def test_a_node_that_ends_by_itself_is_restarted(runtime: Path, tmp_path: Path) -> None:
    """Exit code 0, but nobody asked for it."""
    session = watched(tmp_path, grabbing="leave", at=50, once=str(tmp_path / "x"))
    with session.running() as lab:
        eventually(lambda: lab.cam.head > 80)
    died = [i["text"] for i in session.ledger["incidents"] if i["what"] == "died"]
    assert died == ["cam: ended without having been asked to"]
    assert check_results(tmp_path / "kept") == []


def _nodes_of(folder: Path) -> set[int]:
    return {
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if str(folder) in (process.info["cmdline"] or [])
        and "marey.node" in process.info["cmdline"]
    }


def _guards_of(pid: int) -> set[int]:
    found = set()
    for child in psutil.Process(pid).children():
        with suppress(psutil.Error):  # a zombie
            if any(part.endswith("guard.py") for part in child.cmdline()):
                found.add(child.pid)
    return found
