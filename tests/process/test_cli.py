"""The command line as a shell sees it: sessions run, are watched, steered and ended."""

from __future__ import annotations

import itertools
import json
import os
import re
import select
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

import marey
from marey.cli import main
from marey.lab import read_session
from support import plugin
from support.shell import COMMAND, Ended, running
from support.shell import marey as shell
from support.waiting import eventually

Here = Callable[..., Ended]

KINDS = {
    "ramp": "odd_nodes:Ramp",
    "tally": "odd_nodes:Tally",
    "page": "odd_nodes:Page",
    "broken": "broken_nodes:Broken",
}

BENCH = """
[cam]
kind = "ramp"
rate = 500

[sum]
kind = "tally"
sources = ["cam"]
"""


@pytest.fixture
def folder(runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with `bench.toml`, and the kinds of this test's plug-in."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "bench.toml").write_text(BENCH)
    (tmp_path / "broken_nodes.py").write_text("1 / 0\n")
    monkeypatch.setenv("PYTHONPATH", plugin.install(tmp_path, KINDS))
    monkeypatch.chdir(work)
    return work


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Here:
    """Run a command in this process: the same code, without waiting for another interpreter."""
    for place in os.environ["PYTHONPATH"].split(os.pathsep):
        monkeypatch.syspath_prepend(place)

    def call(*arguments: str) -> Ended:
        capfd.readouterr()
        code = main(list(arguments))
        return Ended(code, *capfd.readouterr())

    return call


# ---------------------------------------------------------------- run


def test_run_prints_the_ledger_as_a_table(folder: Path) -> None:
    done = shell("run", "bench.toml", "cam.frames=30")
    assert done.code == 0
    assert done.out.startswith("session bench: cam, sum; Ctrl-C ends it\n")
    row = next(line.split() for line in done.out.splitlines() if line.startswith("cam "))
    assert row == ["cam", "30", "0", "sum", "30", "0"]


def test_run_json_is_one_object_and_nothing_else(folder: Path) -> None:
    done = shell("run", "bench.toml", "cam.frames=30", "--json")
    assert done.code == 0
    cam = done.json["streams"]["cam"]
    assert (cam["published"], cam["device_lost"]) == (30, 0)
    assert set(cam["readers"]) == {"sum"}
    told = cam["readers"]["sum"]
    assert (told["received"], told["lost"], told["causes"]) == (30, 0, {})
    assert done.json["seconds"] > 0


def test_run_ends_after_its_time(folder: Path) -> None:
    done = shell("run", "bench.toml", "--for", "0.2", "--json")
    cam = done.json["streams"]["cam"]
    assert done.code == 0
    assert cam["readers"]["sum"]["received"] == cam["published"] > 0


def test_readers_that_are_no_nodes_are_not_in_the_json(folder: Path, here: Here) -> None:
    with running("bench.toml") as run, marey.attach(run.name) as lab:
        with lab.cam.every() as reader:
            assert reader.read(timeout=10.0) is not None
        mine = lab.status()["streams"]["cam"]["readers"]
        told = here("ledger", "bench", "--json").json["streams"]["cam"]["readers"]
    assert f"pid-{os.getpid()}" in mine or set(mine) == {"sum"}
    assert set(told) == {"sum"}


def test_overrides(folder: Path, here: Here) -> None:
    with running("bench.toml", "cam.rate=50", "cam.label=42", "cam.shape=[4, 6]") as run:
        values = here("get", run.name, "cam", "--json").json
        with marey.attach(run.name) as lab:
            assert lab.cam.spec.shape == (4, 6)
    assert (values["rate"], values["label"], values["shape"]) == (50, "42", [4, 6])


def test_session_table_and_its_overrides(folder: Path, here: Here) -> None:
    (folder / "own.toml").write_text('[session]\nname = "mine"\nmode = "dark"\n' + BENCH)
    with running("own.toml", "session.run=7") as run:
        assert run.name == "mine"
        assert here("get", "mine", "session", "--json").json == {
            "acquiring": True,
            "folder": "data",
            "run": "7",
            "mode": "dark",
        }


def test_kind_can_be_overridden(folder: Path) -> None:
    done = shell("run", "bench.toml", "sum.kind=page", "cam.frames=5")
    assert done.code == 0
    assert "\nsum: http://127.0.0.1:1/\n" in done.out


def test_pages_are_told_when_they_can_be_opened(folder: Path) -> None:
    (folder / "page.toml").write_text(BENCH + '[web]\nkind = "page"\n')
    with running("page.toml", lines=2) as run:
        assert run.said[1] == "web: http://127.0.0.1:1/\n"


def test_two_copies_run_side_by_side(folder: Path, here: Here) -> None:
    with running("bench.toml") as one, running("bench.toml", "cam.rate=100") as two:
        assert (one.name, two.name) == ("bench", "bench-2")
        assert [facts["name"] for facts in here("sessions", "--json").json] == ["bench", "bench-2"]
        assert here("get", "bench", "cam", "rate").out == "500.0\n"
        assert here("get", "bench-2", "cam", "rate").out == "100.0\n"
        refused = here("top", "--once")
        assert refused.code == 2
        assert "running are: bench, bench-2" in refused.err
        assert one.end(signal.SIGINT).code == 0
        assert here("get", "bench-2", "cam", "rate").code == 0


# ---------------------------------------------------------------- ends


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_in_order(folder: Path, runtime: Path, number: signal.Signals) -> None:
    with running("bench.toml") as run:
        done = run.end(number)
    assert done.code == 0
    assert "cam" in done.out
    assert list(runtime.iterdir()) == []


def test_ctrl_c_twice_leaves_nothing(folder: Path, runtime: Path) -> None:
    with running("bench.toml") as run:
        done = run.end(signal.SIGINT, signal.SIGINT)
    assert done.code in (0, 1)
    assert "Traceback" not in done.err
    assert list(runtime.iterdir()) == []


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_while_it_starts(folder: Path, runtime: Path, times: int) -> None:
    process = subprocess.Popen(
        [*COMMAND, "run", "bench.toml"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    eventually(lambda: (runtime / "bench").exists())
    for _ in range(times):
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert "Before the start:" in out
    assert list(runtime.iterdir()) == []


def test_a_node_that_fails_for_good_is_exit_1_and_the_ledger_is_printed(folder: Path) -> None:
    done = shell("run", "bench.toml", "cam.fail=grab", "cam.restart=never", "--json")
    assert done.code == 1
    assert done.json["streams"]["cam"]["readers"]["sum"]["received"] == 10
    assert done.json["nodes"]["cam"]["state"] == "failed"
    assert done.err.splitlines()[-1] == "marey: error: cam: ValueError: the cable fell out"
    assert 'raise ValueError("the cable fell out")' in done.err


def test_a_node_that_cannot_start_is_one_line(folder: Path, runtime: Path) -> None:
    done = shell("run", "bench.toml", "cam.fail=open")
    assert (done.code, done.out) == (2, "")
    assert done.err == ("marey: error: cam: OSError: no such device not even on the second line\n")
    assert list(runtime.iterdir()) == []
    verbose = shell("run", "bench.toml", "cam.fail=open", "--verbose")
    assert verbose.code == 2
    assert 'raise OSError("no such device' in verbose.err


def test_stop_waits_for_the_end(folder: Path, runtime: Path) -> None:
    with running("bench.toml") as run:
        assert shell("stop", run.name).code == 0
        assert not (runtime / run.name).exists()
        assert run.end().code == 0


# ---------------------------------------------------------------- errors

REFUSED = {
    "no file": (["run", "none.toml"], r"none\.toml: No such file"),
    "a folder": (["run", "."], r"Is a directory"),
    "no toml": (["run", "bad.toml"], r"bad\.toml: .*line 1"),
    "no text": (["run", "binary.toml"], r"binary\.toml: .*utf-8"),
    "empty": (["run", "empty.toml"], r"session 'empty': has no nodes"),
    "unknown kind": (["run", "bench.toml", "cam.kind=rump"], r"cam: kind 'rump'.*'ramp'"),
    "broken kind": (["run", "bench.toml", "cam.kind=broken"], r"'broken'.*ZeroDivisionError"),
    "unknown setting": (["run", "bench.toml", "cam.rte=1"], r"cam\.rte: .*'rate'"),
    "bad value": (["run", "bench.toml", "cam.rate=0"], r"cam\.rate: found 0.*0\.1"),
    "bad type": (["run", "bench.toml", "cam.rate=fast"], r"cam\.rate: found 'fast'.*number"),
    "unknown node": (["run", "bench.toml", "cm.rate=1"], r"cm\.rate: no such node.*cam, sum"),
    "no value": (["run", "bench.toml", "cam.rate"], r"cam\.rate: expected node\.setting=value"),
    "no setting": (["run", "bench.toml", "cam=3"], r"cam=3: expected node\.setting=value"),
    "unknown source": (["run", "bench.toml", 'sum.sources=["cm"]'], r"sum: reads 'cm'.*'cam'"),
    "shared": (["run", "bench.toml", "session.acquiring=maybe"], r"session\.acquiring"),
    "shared name": (["run", "bench.toml", "session.moed=x"], r"session\.moed"),
    "name": (["run", "bench.toml", "session.name=a/b"], r"'a/b', expected a letter"),
    "negative time": (["run", "bench.toml", "--for", "-1"], r"--for: found -1, expected 0"),
    "no time": (["run", "bench.toml", "--for", "nan"], r"--for: found nan"),
    "bad time": (["run", "bench.toml", "--for", "soon"], r"--for.*soon"),
    "unknown option": (["run", "bench.toml", "--jsn"], r"--jsn.*--json"),
    "no argument": (["run"], r"FILE"),
    "unknown command": (["rn"], r'"rn".*"run"'),
    "unknown scene": (["demo", "cats"], r"cats"),
    "no film": (["demo", "video"], r"--file: must be given"),
    "film is missing": (["demo", "video", "--file", "none.mp4"], r"none\.mp4: there is no such"),
    "film without video": (["demo", "beads", "--file", "bench.toml"], r"only `marey demo video`"),
    "list": (["list", "rmp"], r"kind 'rmp'.*'ramp'"),
    "top": (["top", "none"], r"session 'none': is not running"),
    "top of nothing": (["top"], r"no session is running"),
    "top too fast": (["top", "--interval", "0"], r"--interval: found 0"),
    "get": (["get", "none", "cam"], r"session 'none': is not running"),
    "set": (["set", "none", "cam", "rate=1"], r"session 'none': is not running"),
    "do": (["do", "none", "cam", "sweep"], r"session 'none': is not running"),
    "stop": (["stop", "none"], r"session 'none': is not running"),
    "log": (["log", "none"], r"session 'none': is not running"),
    "ledger": (["ledger", "none"], r"session 'none': is not running"),
    "bad session": (["stop", "../x"], r"name of the session: found '\.\./x'"),
    "new": (["new", "kamera", "x"], r"kamera"),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_on_one_line(folder: Path, here: Here, arguments: list[str], message: str) -> None:
    (folder / "bad.toml").write_text("[cam\n")
    (folder / "binary.toml").write_bytes(b"\xff\xfe\x00")
    (folder / "empty.toml").write_text("")
    done = here(*arguments)
    assert (done.code, done.out) == (2, ""), done.err
    assert done.err.count("\n") == 1, done.err
    assert done.err.startswith("marey: error: ")
    assert re.search(message, done.err), done.err


def test_refused_in_a_process_of_its_own(folder: Path) -> None:
    done = shell("run", "bench.toml", "cam.rate=0")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("marey: error: cam.rate: found 0, ")
    assert done.err.count("\n") == 1


STEERED_WRONGLY = {
    "unknown node": (["get", "bench", "cm"], r"no node 'cm'.*'cam'"),
    "unknown setting": (["get", "bench", "cam", "rte"], r"cam\.rte.*'rate'"),
    "unknown shared setting": (["get", "bench", "session", "rnu"], r"session\.rnu"),
    "bad value": (["set", "bench", "cam", "rate=0"], r"cam\.rate: found 0.*0\.1"),
    "one of two is bad": (["set", "bench", "cam", "obscure=2", "rate=x"], r"cam\.rate: found 'x'"),
    "read-only": (["set", "bench", "cam", "serial=1"], r"cam\.serial.*cannot be set"),
    "fixed": (["set", "bench", "cam", "frames=3"], r"cam\.frames: holds from the start"),
    "nothing": (["set", "bench", "cam"], r"SETTING=VALUE: none given"),
    "no value": (["set", "bench", "cam", "rate"], r"rate: expected name=value"),
    "shared": (["set", "bench", "session", "acquiring=perhaps"], r"session\.acquiring"),
    "unknown action": (["do", "bench", "cam", "swep"], r"cam\.swep\(\).*'sweep'"),
    "unknown argument": (["do", "bench", "cam", "sweep", "stps=3"], r"cam\.sweep\(stps\)"),
    "bad argument": (["do", "bench", "cam", "sweep", "steps=0"], r"cam\.sweep\(steps\): found 0"),
    "no argument": (["do", "bench", "cam", "sweep", "steps"], r"cam\.sweep\(\): steps: expected"),
}


def test_wrong_steering_is_refused_on_one_line_and_changes_nothing(
    folder: Path, here: Here
) -> None:
    with running("bench.toml") as run:
        before = here("get", run.name, "cam", "--json").json
        for case, (arguments, message) in STEERED_WRONGLY.items():
            done = here(*arguments)
            assert (done.code, done.out) == (2, ""), case
            assert done.err.count("\n") == 1, done.err
            assert re.search(message, done.err), done.err
        assert here("get", run.name, "cam", "--json").json == before
        assert run.end(signal.SIGINT).code == 0


def test_output_that_nobody_reads_is_no_traceback(folder: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*COMMAND, "list"], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert done.stderr == ""


# ---------------------------------------------------------------- steering


def test_get_set_do(folder: Path, here: Here) -> None:
    with running("bench.toml") as run:
        assert here("set", run.name, "cam", "rate=250", "label=1e3").code == 0
        assert here("get", run.name, "cam", "rate").out == "250.0\n"
        assert here("get", run.name, "cam", "label").out == "1e3\n"
        lines = here("get", run.name, "cam").out.splitlines()
        assert any(line.split() == ["rate", "250", "Hz"] for line in lines)
        told = here("set", run.name, "session", "run=bead 7", "--json")
        assert told.json == {"cam": {"run": "bead 7"}}
        assert here("get", run.name, "cam", "run").out == "bead 7\n"
        done = here("do", run.name, "cam", "sweep", "steps=3", "word=17")
        assert done.json == {"steps": 3, "word": "17"}
        assert here("do", run.name, "cam", "nothing").out == ""
        assert here("do", run.name, "cam", "nothing", "--json").out == "null\n"


def test_log_follows_events_until_the_end(folder: Path, here: Here) -> None:
    with running("bench.toml") as run:
        process = subprocess.Popen([*COMMAND, "log", "--json"], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        # It listens from some moment on: setting something again and again shows when.
        for value in itertools.count(2):
            here("set", run.name, "cam", f"obscure={value}")
            if select.select([process.stdout], [], [], 0.1)[0]:
                break
        event = json.loads(process.stdout.readline())
        assert (event["kind"], event["node"]) == ("setting", "cam")
        assert set(event["data"]["values"]) == {"obscure"}
        run.end(signal.SIGINT)
        rest, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert any(json.loads(line)["kind"] == "state" for line in rest.splitlines())


# ---------------------------------------------------------------- watching


def test_top_once_shows_streams_readers_and_nodes(folder: Path, here: Here) -> None:
    with running("bench.toml"):
        done = here("top", "--once")
    assert done.code == 0
    title, streams, nodes = (part.splitlines() for part in done.out.split("\n\n"))
    assert title[0].startswith("bench  running for ")
    cam, reader = streams[1].split(), streams[2].split()
    assert (cam[0], reader[0]) == ("cam", "sum")
    assert float(cam[1].replace(",", "")) > 0
    assert (cam[3], reader[3]) == ("0", "0")
    assert [line.split()[:3] for line in nodes[1:]] == [
        ["cam", "ramp", "running"],
        ["sum", "tally", "running"],
    ]


def test_top_in_a_terminal_ends_with_the_session(folder: Path) -> None:
    pty = pytest.importorskip("pty")
    with running("bench.toml") as run:
        mine, its = pty.openpty()
        process = subprocess.Popen(
            [*COMMAND, "top", run.name, "--interval", "0.05"],
            stdin=its,
            stdout=its,
            env=os.environ | {"TERM": "xterm", "COLUMNS": "150", "LINES": "40"},
        )
        os.close(its)
        seen = ""
        while seen.count("running for") < 3:
            seen += os.read(mine, 65536).decode(errors="replace")
        run.end(signal.SIGINT)
        while True:
            try:
                seen += os.read(mine, 65536).decode(errors="replace")
            except OSError:  # all of the other end is closed
                break
        os.close(mine)
        assert process.wait(timeout=30) == 0
    assert "session bench has ended" in seen


def test_list_names_the_kinds_and_says_which_is_broken(folder: Path) -> None:
    done = shell("list")
    assert done.code == 0
    rows = {line.split()[0]: line for line in done.out.splitlines()}
    assert re.fullmatch(
        r"ramp +camera +Frames of 8 by 8 pixels that hold their own number\. *", rows["ramp"]
    )
    assert "ZeroDivisionError" in rows["broken"]
    assert "stage" in rows


def test_list_tells_settings_and_actions_of_a_kind(folder: Path, here: Here) -> None:
    out = here("list", "ramp").out
    rate = next(line for line in out.splitlines() if line.startswith("rate "))
    assert re.fullmatch(r"rate +number +0\.1 to 200000 +500 +Hz +live +frames a second *", rate)
    assert "A second paragraph of its documentation." in out
    assert re.search(r"^fail +\S* *\| open \| grab", out, re.MULTILINE)
    assert re.search(r"^serial +text +told by the device", out, re.MULTILINE)
    assert "sweep(steps, word)" in out
    assert re.search(r"^ *steps +integer +1 to 100 +5 +how many", out, re.MULTILINE)
    assert "obscure" not in out
    assert "obscure" in here("list", "ramp", "--all").out
    described = here("list", "ramp", "--json").json
    assert described["role"] == "camera"
    assert described["schema"]["properties"]["rate"]["unit"] == "Hz"


# ---------------------------------------------------------------- doctor


def test_doctor_finds_and_cleans_what_a_killed_session_left(
    folder: Path, here: Here, runtime: Path
) -> None:
    with running("bench.toml") as run:
        supervisor = psutil.Process(run.process.pid)
        supervisor.suspend()  # it must not start another guard
        children = supervisor.children()
        guard = next(p for p in children if any("guard.py" in word for word in p.cmdline()))
        guard.kill()
        supervisor.kill()
        psutil.wait_procs(children, timeout=30)
        run.end()
    assert read_session(runtime / "bench") is not None
    assert here("sessions").out == "no session is running\n"
    sick = here("doctor")
    assert sick.code == 1
    assert re.search(r"✗ +stale +\S*/bench: left by a dead session", sick.out)
    assert "bench: removed" in here("doctor", "--clean").out
    assert list(runtime.iterdir()) == []
    assert "stale" not in here("doctor").out


def test_doctor_tells_what_is_installed_and_what_is_broken(
    folder: Path, here: Here, runtime: Path
) -> None:
    done = here("doctor")
    assert done.code == 1
    assert re.search(rf"✓ +marey +{re.escape(marey.__version__)} ", done.out)
    assert re.search(r"✓ +numpy +\d", done.out)
    assert re.search(r"✓ +ramp +marey-test-plugin", done.out)
    assert re.search(r"✗ +broken +marey-test-plugin: .*ZeroDivisionError", done.out)
    runtime.chmod(0o755)
    open_to_all = here("doctor")
    runtime.chmod(0o700)
    assert open_to_all.code == 1
    assert re.search(r"✗ +runtime folder .*mode 755, expected .*700", open_to_all.out)


def test_doctor_is_content_where_all_is_well(runtime: Path) -> None:
    done = shell("doctor")
    bad = [line for line in done.out.splitlines() if line.startswith("✗")]
    # An installation for development may do without the page.
    assert [line for line in bad if "web page" not in line] == []
    assert done.code == (1 if bad else 0)
    assert done.out.splitlines()[-1] == (f"{len(bad)} need attention" if bad else "all is fine")


# ---------------------------------------------------------------- demo, new


def test_demo_records_what_it_shows(runtime: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    done = shell("demo", "noise", "--for", "0.5", "--json", "--no-browser", "--folder", str(data))
    assert done.code == 0, done.err
    cam = done.json["streams"]["cam"]
    told = cam["readers"]["rec"]
    assert told["received"] + told["lost"] == cam["published"] > 0
    with marey.open_recording(next(data.iterdir())) as recording:
        assert len(recording["cam"]) == told["received"]


def test_demo_tracks_beads_and_leaves_nothing(
    runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    done = shell("demo", "--for", "1", "--json", "--no-browser")
    assert done.code == 0, done.err
    streams = done.json["streams"]
    assert {"cam", "cam.truth", "tracks"} <= set(streams)
    assert set(streams["cam"]["readers"]) == {"rec", "tracks"}
    assert set(streams["tracks"]["readers"]) == {"rec"}
    assert streams["cam"]["readers"]["tracks"]["received"] > 0
    assert list(tmp_path.iterdir()) == []


def test_recording_of_a_killed_demo_is_cleaned_up(
    runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    with running("noise", "--no-browser", lines=2, command="demo") as run:
        children = psutil.Process(run.process.pid).children()
        run.process.kill()
        psutil.wait_procs(children, timeout=30)
        run.end()
    left = list(scratch.glob("marey-demo-*"))
    assert len(left) == 1
    assert f"stale {left[0]}: " in re.sub(" +", " ", shell("doctor").out)
    assert f"{left[0]}: removed" in shell("doctor", "--clean").out
    assert not left[0].exists()


def test_new_writes_a_plugin(runtime: Path, tmp_path: Path, here: Here) -> None:
    done = here("new", "camera", "my-cam", "--into", str(tmp_path / "plugins"))
    assert done.code == 0
    made = tmp_path / "plugins" / "my-cam"
    assert done.out.splitlines()[0] == str(made)
    assert (made / "pyproject.toml").exists()
    again = here("new", "camera", "my-cam", "--into", str(tmp_path / "plugins"))
    assert again.code == 2
    assert again.err == f"marey: error: {made}: exists already; choose another name or folder\n"
