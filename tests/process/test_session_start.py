"""How a session starts: all or nothing, and the reason on one line."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

import marey
from marey import Session
from marey.errors import NodeError, NodeFailed, SessionError
from marey.lab import sessions
from marey.processors import Spots
from support.nodes import Keep, Motor, Sum, Ticker, Truthful
from support.waiting import eventually, kept


def test_a_session_starts_runs_and_leaves_nothing(runtime: Path, tmp_path: Path) -> None:
    session = Session(
        "bench", cam=Ticker(frames=50), sums=Sum(source="cam"), out=Keep(file=str(tmp_path / "a"))
    )
    ledger = session.run()
    assert list(runtime.iterdir()) == []
    assert ledger["streams"]["cam"]["published"] == 50
    assert [i["seq"] for i in kept(tmp_path / "a", "cam")] == list(range(50))
    assert [i["source_seq"] for i in kept(tmp_path / "a", "sums")] == list(range(50))
    assert {n["state"] for n in ledger["nodes"].values()} == {"ended"}
    assert session.ledger == ledger


def test_all_see_the_first_frame(runtime: Path, tmp_path: Path) -> None:
    nodes = {f"out{i}": Keep(file=str(tmp_path / f"{i}"), sources=["cam"]) for i in range(3)}
    Session("bench", cam=Ticker(rate=5000, frames=20), **nodes).run()
    for i in range(3):
        assert [item["seq"] for item in kept(tmp_path / f"{i}")] == list(range(20))


def test_an_open_that_raises_stops_the_start_with_its_message(
    runtime: Path, tmp_path: Path
) -> None:
    diary = tmp_path / "diary"
    session = Session(
        "bench",
        cam=Ticker(diary=str(diary)),
        bad=Ticker(opening="raise no camera found at port 7", diary=str(diary)),
        sums=Sum(source="cam"),
        out=Keep(file=str(tmp_path / "out")),
    )
    with pytest.raises(NodeError) as caught:
        session.run()
    assert str(caught.value) == "bad: ValueError: no camera found at port 7"
    assert not isinstance(caught.value, NodeFailed)
    assert list(runtime.iterdir()) == []
    assert kept(tmp_path / "out") == []
    told = diary.read_text().splitlines()
    # `close` is called for every `open`, also for the one that raised.
    assert sorted(told) == ["bad close", "bad open", "cam close", "cam open"]


@pytest.mark.parametrize("how", ["kill", "exit", "leave"])
def test_a_node_that_dies_in_open_stops_the_start(runtime: Path, how: str) -> None:
    says = {
        "kill": "bad: was ended by SIGKILL",
        "exit": "bad: exited with code 3",
        "leave": "bad: ended without having been asked to",
    }
    with pytest.raises(NodeError) as caught:
        Session("bench", cam=Ticker(), bad=Ticker(opening=how)).run()
    assert str(caught.value) == says[how]
    assert list(runtime.iterdir()) == []


def test_the_background_start_raises_as_well(runtime: Path) -> None:
    with pytest.raises(NodeError, match=r"^cam: ValueError: no$"):  # noqa: SIM117
        with Session("bench", cam=Ticker(opening="raise no")).running():
            pytest.fail("it runs")
    assert list(runtime.iterdir()) == []


def test_a_node_that_is_not_ready_in_time_stops_the_start(runtime: Path) -> None:
    with pytest.raises(NodeError, match=r"^cam: not ready after 0.5 s$"):
        Session("bench", cam=Ticker(opening="sleep 60", start_timeout=0.5)).run()


def test_a_node_is_not_blamed_for_those_it_waits_for(runtime: Path, tmp_path: Path) -> None:
    """Ready at once, but the camera takes longer than they were given themselves."""
    Session(
        "bench",
        cam=Ticker(opening="sleep 3", frames=5),
        quick=Ticker(frames=5, start_timeout=2.5),
        sums=Sum(source="cam", start_timeout=2.5),
        more=Sum(source="sums", start_timeout=2.5),
        out=Keep(file=str(tmp_path / "out"), sources=["more"], start_timeout=2.5),
    ).run()
    assert [i["source_seq"] for i in kept(tmp_path / "out")] == list(range(5))


def test_a_missing_side_stream_is_named_at_once(runtime: Path, tmp_path: Path) -> None:
    with pytest.raises(NodeError) as caught:
        Session("bench", cam=Truthful(), sums=Sum(source="cam.trth")).run()
    assert str(caught.value) == (
        "sums: reads 'cam.trth', which 'cam' does not write; did you mean 'cam.truth'? "
        "streams are: cam, cam.truth"
    )
    with pytest.raises(NodeError, match=r"^out: reads 'cam.x', which 'cam' does not write"):
        Session("bench", cam=Ticker(), out=Keep(file=str(tmp_path / "a"), sources=["cam.x"])).run()


@pytest.mark.parametrize(
    ("nodes", "says"),
    [
        ({}, "has no nodes"),
        ({"sums": Sum(source="cam")}, "sums: reads 'cam', which no node writes; streams are: sums"),
        (
            {"cam": Ticker(), "sums": Sum(source="came")},
            "sums: reads 'came', which no node writes; did you mean 'cam'? streams are: cam, sums",
        ),
        ({"a": Sum(source="b"), "b": Sum(source="a")}, "a: reads itself: a <- b <- a"),
        ({"a": Sum(source="a")}, "a: reads itself: a <- a"),
        ({"1cam": Ticker()}, "name of a node: found '1cam'"),
        ({"status": Ticker()}, "'status' is reserved"),
        ({"session": Ticker()}, "'session' is reserved"),
        ({"cam": 3}, "cam: found int, expected a node"),
    ],
)
def test_wrong_wiring_is_refused_before_anything_starts(
    nodes: dict[str, object], says: str
) -> None:
    with pytest.raises(SessionError) as caught:
        Session("bench", **nodes)  # type: ignore[arg-type]
    assert says in str(caught.value)


def test_stop_before_the_start_is_over_means_that_no_item_is_processed(
    runtime: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    session = Session(
        "bench",
        cam=Ticker(rate=10000, diary=str(tmp_path / "diary")),
        slow=Ticker(opening="sleep 1", diary=str(tmp_path / "diary")),
        keep=Keep(file=str(out)),
    )
    supervisor = session._supervisor()
    began: list[str] = []

    def stop_soon() -> None:
        eventually(lambda: (tmp_path / "diary").exists())
        supervisor.stop()

    stopper = threading.Thread(target=stop_soon)
    stopper.start()
    ledger = supervisor.run(None, signals=False, on_ready=began.append)
    stopper.join()
    assert began == []
    assert kept(out) == []
    assert all(stream["published"] == 0 for stream in ledger["streams"].values())
    assert list(runtime.iterdir()) == []


def test_processors_follow_processors(runtime: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    Session(
        "bench",
        third=Sum(source="second"),
        second=Sum(source="first"),
        first=Sum(source="cam"),
        cam=Ticker(frames=30),
        keep=Keep(file=str(out), sources=["third"]),
    ).run()
    items = kept(out)
    assert [i["source_seq"] for i in items] == list(range(30))
    # The exposure's time goes through the whole chain.
    assert len({i["mono_time"] for i in items}) == 30
    assert [i["data"][0][1] for i in items] == [24.0 * n for n in range(30)]


def test_two_sessions_and_two_copies_run_side_by_side(runtime: Path) -> None:
    def session(name: str) -> Session:
        return Session(name, cam=Ticker(), sums=Sum(source="cam"))

    with (
        session("bench").running() as one,
        session("bench").running() as two,
        session("other").running() as three,
    ):
        assert [one.name, two.name, three.name] == ["bench", "bench-2", "other"]
        assert sessions() == ["bench", "bench-2", "other"]
        for lab in (one, two, three):
            with lab.sums.every() as reader:
                assert reader.read(10) is not None
        two.cam.set(exposure=0.5)
        assert one.cam.get("exposure") == 0.01
        with marey.attach("bench-2") as lab:
            assert lab.cam.get("exposure") == 0.5
    assert sessions() == []


def test_attaching_to_what_does_not_run_says_what_does(runtime: Path) -> None:
    with pytest.raises(SessionError, match=r"'bench': is not running; running are: none"):
        marey.attach("bench")
    with (
        Session("other", cam=Ticker()).running(),
        pytest.raises(SessionError, match=r"running are: other"),
    ):
        marey.attach("bench")


SCRIPT = """
    import sys, numpy as np, marey
    from helper import LEVEL

    class Cam(marey.Camera):
        def describe(self): return marey.Spec((2, 2), np.dtype("u1"))
        _n = 0
        def grab(self, out):
            if self._n == 5: raise marey.EndOfStream
            self._n += 1
            out[:] = LEVEL
            return marey.Stamp()

    class Mean(marey.Processor):
        row = np.dtype([("mean", "f8")])
        def process(self, frame): return np.array([(frame.data.mean(),)], self.row)

    class Print(marey.Sink):
        def append(self, name, frame): self.log.info("%s", frame.data)
"""

RUN = """
    session = marey.Session("bench", cam=Cam(), mean=Mean(source="cam"))
    ledger = session.run()
    print(ledger["streams"]["mean"]["published"], len(sys.argv))
"""


@pytest.mark.parametrize("guarded", [True, False])
def test_a_script_runs_nodes_of_its_own(runtime: Path, tmp_path: Path, guarded: bool) -> None:
    """With and without `if __name__ == "__main__"`; it imports a module that lies beside it."""
    script = textwrap.dedent(SCRIPT)
    if guarded:
        script += 'if __name__ == "__main__":\n' + textwrap.indent(textwrap.dedent(RUN), "    ")
    else:
        script += textwrap.dedent(RUN)
    (tmp_path / "helper.py").write_text("LEVEL = 7\n")
    (tmp_path / "script.py").write_text(script)
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py", "an argument"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "5 2\n", "")


def test_a_module_that_runs_a_session_when_imported_is_told(runtime: Path, tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("LEVEL = 7\n")
    (tmp_path / "mine.py").write_text(textwrap.dedent(SCRIPT) + textwrap.dedent(RUN))
    (tmp_path / "main.py").write_text("import mine\n")
    done = subprocess.run(
        [sys.executable, tmp_path / "main.py"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    last = done.stderr.splitlines()[-1]
    assert last.startswith("marey.errors.SessionError: ") or "NodeError" in last
    assert "module mine: runs a session when it is imported" in last


def test_classes_that_no_process_can_find_are_refused(runtime: Path) -> None:
    class Local(Ticker):
        """Local."""

    with pytest.raises(SessionError, match=r"Local: defined inside a function"):
        Session("bench", cam=Local()).run()
    code = """
        import numpy as np, marey
        class Cam(marey.Camera):
            def describe(self): return marey.Spec((2, 2), np.dtype("u1"))
            def grab(self, out): return marey.Stamp()
        marey.Session("bench", cam=Cam()).run()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "marey.errors.SessionError: class Cam: defined at a prompt or in a notebook, where its "
        "process cannot find it; write it into a module and import it"
    )
    assert list(runtime.iterdir()) == []


def test_a_session_without_cameras_goes_on_until_it_is_stopped(runtime: Path) -> None:
    with Session("bench", motor=Motor(interval=0.01)).running() as lab:
        with lab.motor.every() as reader:
            assert reader.read(10) is not None
        lab.stop()
        eventually(lambda: sessions() == [])


def test_a_path_too_long_for_sockets_is_refused(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = runtime / ("d" * 80)
    monkeypatch.setenv("MAREY_RUNTIME_DIR", str(deep))
    with pytest.raises(SessionError, match=r"set MAREY_RUNTIME_DIR to a shorter one"):
        Session("bench", cam=Ticker()).run()
    assert list(deep.iterdir()) == []


def test_a_processor_of_pictures_refuses_rows(runtime: Path) -> None:
    session = Session("bench", cam=Ticker(), sums=Sum(source="cam"), spots=Spots(source="sums"))
    with pytest.raises(NodeError, match=r"^spots\.source: 'sums' has rows, expected frames$"):
        session.run()
