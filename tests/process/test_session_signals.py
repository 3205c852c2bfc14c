"""Ctrl-C, SIGTERM, a closed terminal: each is an orderly stop, and a second one a quick one."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

import marey
from marey.lab import sessions
from support.waiting import eventually, kept

SCRIPT = """
    import json, sys
    from marey import Session
    from support.nodes import Keep, Sum, Ticker

    session = Session(
        "bench",
        cam=Ticker(rate=500, {cam}),
        sums=Sum(source="cam"),
        keep=Keep(file=sys.argv[1], {keep}),
    )
    ledger = session.run(on_ready=lambda name: print(name, flush=True))
    print(json.dumps({{n: s["published"] for n, s in ledger["streams"].items()}}), flush=True)
"""


@contextmanager
def script(
    tmp_path: Path, cam: str = "", keep: str = "", prefix: tuple[str, ...] = ()
) -> Iterator[subprocess.Popen[str]]:
    """A session in a process of its own; entered when it runs."""
    file = tmp_path / "session.py"
    file.write_text(textwrap.dedent(SCRIPT.format(cam=cam, keep=keep)))
    tests = Path(__file__).resolve().parents[1]
    process = subprocess.Popen(
        [*prefix, sys.executable, str(file), str(tmp_path / "kept")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"PYTHONPATH": str(tests)},
    )
    with process:
        try:
            assert process.stdout is not None
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_an_orderly_stop(runtime: Path, tmp_path: Path, number: int) -> None:
    with script(tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "bench\n"
        eventually(lambda: len(kept(tmp_path / "kept")) > 20)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    published = eval(out)
    for stream, count in published.items():
        assert [i["seq"] for i in kept(tmp_path / "kept", stream)] == list(range(count))
    assert published["sums"] == published["cam"]
    assert list(runtime.iterdir()) == []


def test_a_signal_during_the_start_is_an_orderly_stop(runtime: Path, tmp_path: Path) -> None:
    with script(tmp_path, cam='opening="sleep 30"') as process:
        eventually(lambda: (runtime / "bench" / "keep.cmd").exists())
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "{}\n", "")
    assert kept(tmp_path / "kept") == []
    assert list(runtime.iterdir()) == []


def test_ctrl_c_twice_leaves_no_orphans(runtime: Path, tmp_path: Path) -> None:
    """The reader would need a minute for what is left; the second Ctrl-C does not wait for it."""
    with script(tmp_path, keep="slow=60.0, hang_timeout=600") as process:
        assert process.stdout is not None
        process.stdout.readline()
        with marey.attach("bench") as lab:
            pids = [node["pid"] for node in lab.status()["nodes"].values()]
        eventually(lambda: kept(tmp_path / "kept"))
        process.send_signal(signal.SIGINT)
        eventually(lambda: not psutil.pid_exists(pids[0]))  # it has begun to stop
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    assert out.startswith("{")
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert list(runtime.iterdir()) == []


def test_many_signals_at_once_are_survived(runtime: Path, tmp_path: Path) -> None:
    with script(tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        for _ in range(20):
            process.send_signal(signal.SIGINT)
            process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert list(runtime.iterdir()) == []


def test_nohup_is_respected(runtime: Path, tmp_path: Path) -> None:
    with script(tmp_path, prefix=("nohup",)) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        with marey.attach("bench") as lab:
            head = lab.cam.head
            eventually(lambda: lab.cam.head > head + 100)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 0


def test_a_stopped_supervisor_goes_on_where_it_was(runtime: Path, tmp_path: Path) -> None:
    """Ctrl-Z, and `fg` after longer than any node may be silent: none is taken for hung."""
    with script(tmp_path, cam="hang_timeout=1.0", keep="hang_timeout=1.0") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        with marey.attach("bench") as lab:
            head = lab.cam.head
            eventually(lambda: lab.cam.head > head + 1500)  # 3 s; the nodes go on meanwhile
            process.send_signal(signal.SIGCONT)
            head = lab.cam.head
            eventually(lambda: lab.cam.head > head + 500)
            assert {n["restarts"] for n in lab.status()["nodes"].values()} == {0}
            assert lab.ledger()["incidents"] == []
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def test_ctrl_c_of_a_terminal_reaches_only_the_supervisor(runtime: Path, tmp_path: Path) -> None:
    """The key goes to the whole foreground group; nodes end in order nevertheless."""
    file = tmp_path / "session.py"
    file.write_text(textwrap.dedent(SCRIPT.format(cam="", keep="")))
    tests = Path(__file__).resolve().parents[1]
    controller, terminal = pty.openpty()
    code = "import os, sys; os.setsid(); os.open(sys.argv[1], os.O_RDWR); "
    code += "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
    process = subprocess.Popen(
        [sys.executable, "-c", code, os.ttyname(terminal), str(file), str(tmp_path / "kept")],
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(tests)},
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "bench\n"
        os.write(controller, b"\x03")
        out, err = process.communicate(timeout=30)
    os.close(terminal)
    os.close(controller)
    assert (process.returncode, err) == (0, "")
    published = eval(out)
    assert len(kept(tmp_path / "kept", "cam")) == published["cam"]


def test_a_closed_terminal_is_an_orderly_stop(runtime: Path, tmp_path: Path) -> None:
    """Its output has nowhere to go any more; nothing of the session may be left all the same."""
    file = tmp_path / "session.py"
    file.write_text(textwrap.dedent(SCRIPT.format(cam="", keep="")))
    tests = Path(__file__).resolve().parents[1]
    controller, terminal = pty.openpty()
    code = "import os, sys; os.setsid(); os.open(sys.argv[1], os.O_RDWR); "
    code += "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
    process = subprocess.Popen(
        [sys.executable, "-c", code, os.ttyname(terminal), str(file), str(tmp_path / "kept")],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=os.environ | {"PYTHONPATH": str(tests)},
    )
    os.close(terminal)
    with process:
        eventually(lambda: sessions() == ["bench"])
        eventually(lambda: len(kept(tmp_path / "kept")) > 20)
        os.close(controller)
        process.wait(timeout=30)
    items = kept(tmp_path / "kept", "cam")
    assert [i["seq"] for i in items] == list(range(len(items)))
    assert list(runtime.iterdir()) == []


def test_ctrl_c_in_a_program_that_runs_a_session_in_the_background(
    runtime: Path, tmp_path: Path
) -> None:
    """KeyboardInterrupt in the main thread, in the block and while the session starts."""
    code = """
        import sys, time
        from marey import Session
        from support.nodes import Ticker
        with Session("bench", cam=Ticker(opening=sys.argv[1])).running() as lab:
            print("runs", flush=True)
            time.sleep(60)
    """
    file = tmp_path / "session.py"
    file.write_text(textwrap.dedent(code))
    tests = Path(__file__).resolve().parents[1]
    for opening in ("", "sleep 30"):
        with subprocess.Popen(
            [sys.executable, str(file), opening],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(tests)},
        ) as process:
            if opening:
                eventually(lambda: (runtime / "bench" / "cam.cmd").exists())
            else:
                assert process.stdout is not None
                assert process.stdout.readline() == "runs\n"
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=30)
        assert err.splitlines()[-1] == "KeyboardInterrupt"
        assert list(runtime.iterdir()) == []
